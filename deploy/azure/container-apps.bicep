// cxone-sync on Azure Container Apps, with a managed identity instead of a secret for Graph.
//
// READ THIS FIRST. The store needs a disk, and Container Apps has none that lasts: what lasts is an Azure
// Files share over SMB, whose locks and flushes are not those of a disk. The store notices damage and refuses
// it, but cannot undo it. A virtual machine with the systemd unit, or AKS with an Azure Disk, is the safe
// choice. And a new revision starts before the old one has stopped: it then finds the store in use and does not
// come up. So never deploy over a running revision; use update.sh, which stops the old one first.

@description('Where everything goes.')
param location string = resourceGroup().location

@description('The beginning of every name.')
@minLength(3)
@maxLength(20)
param name string = 'cxone-sync'

@description('The image, with its tag or digest.')
param image string

@description('A key vault of this resource group that holds the secrets client-state, cxone-client and cxone-key.')
param keyVaultName string

@description('The Entra tenant whose users are synchronised.')
param graphTenantId string = tenant().tenantId

@description('What stands before .api.nicecxone.com in the address of your CXone.')
param cxoneSubdomain string

@description('The client id that NICE gave you.')
param cxoneClientId string

@description('The access key id of the CXone employee; its secret is in the key vault.')
param cxoneAccessKeyId string

@description('observe: everything but the writes.')
@allowed(['observe', 'write'])
param mode string = 'observe'

var share = 'store'
var secretNames = ['client-state', 'cxone-client', 'cxone-key']
var vaultSecrets = [
  for secret in secretNames: {
    name: secret
    keyVaultUrl: 'https://${keyVaultName}${az.environment().suffixes.keyvaultDns}/secrets/${secret}'
    identity: resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', name)
  }
]
// Key Vault Secrets User
var secretsUser = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-875a-0445b86b69e6')

// Of its own life, so that it has its permissions in Graph before the app starts: see grant-graph.sh.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: keyVaultName
}

resource maySeeSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identity.id, secretsUser)
  scope: vault
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: secretsUser
  }
}

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: name
  location: location
  properties: {
    retentionInDays: 90
    sku: {
      name: 'PerGB2018'
    }
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: take('cxone${uniqueString(resourceGroup().id, name)}', 24)
  location: location
  kind: 'FileStorage'
  sku: {
    // Solid-state: every notification waits for a flush.
    name: 'Premium_LRS'
  }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
  }

  resource files 'fileServices' = {
    name: 'default'
    properties: {
      // A deleted share can be had back for so long.
      shareDeleteRetentionPolicy: {
        enabled: true
        days: 14
      }
    }

    resource store 'shares' = {
      name: share
      properties: {
        shareQuota: 100
        enabledProtocols: 'SMB'
      }
    }
  }
}

resource environment 'Microsoft.App/managedEnvironments@2024-03-01' = {
  name: name
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: logs.properties.customerId
        sharedKey: logs.listKeys().primarySharedKey
      }
    }
  }

  resource store 'storages' = {
    name: share
    properties: {
      azureFile: {
        accountName: storage.name
        accountKey: storage.listKeys().keys[0].value
        shareName: share
        accessMode: 'ReadWrite'
      }
    }
    dependsOn: [storage::files::store]
  }
}

resource app 'Microsoft.App/containerApps@2024-03-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    environmentId: environment.id
    configuration: {
      activeRevisionsMode: 'Single'
      // Only the public listener. Container Apps terminates TLS, with a certificate that Graph trusts.
      ingress: {
        external: true
        targetPort: 8080
        transport: 'http'
        allowInsecure: false
      }
      secrets: concat(vaultSecrets, [{ name: 'configuration', value: loadTextContent('cxone-sync.toml') }])
    }
    template: {
      terminationGracePeriodSeconds: 30
      // Never more: there is one store. Never none: nobody would poll.
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
      containers: [
        {
          name: 'cxone-sync'
          image: image
          args: ['serve']
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          // Over cxone-sync.toml.
          env: [
            { name: 'CXONE_SYNC_CONFIG', value: '/etc/cxone-sync/cxone-sync.toml' }
            { name: 'CXONE_SYNC__SERVICE__PUBLIC_URL', value: 'https://${name}.${environment.properties.defaultDomain}' }
            { name: 'CXONE_SYNC__GRAPH__TENANT_ID', value: graphTenantId }
            { name: 'CXONE_SYNC__GRAPH__CLIENT_ID', value: identity.properties.clientId }
            { name: 'CXONE_SYNC__CXONE__SUBDOMAIN', value: cxoneSubdomain }
            { name: 'CXONE_SYNC__CXONE__CLIENT_ID', value: cxoneClientId }
            { name: 'CXONE_SYNC__CXONE__ACCESS_KEY_ID', value: cxoneAccessKeyId }
            { name: 'CXONE_SYNC__SYNC__MODE', value: mode }
          ]
          volumeMounts: [
            { volumeName: 'store', mountPath: '/var/lib/cxone-sync' }
            { volumeName: 'secrets', mountPath: '/run/credentials' }
            { volumeName: 'configuration', mountPath: '/etc/cxone-sync' }
          ]
          // By the name that the private listener always serves. None depends on Graph or CXone.
          probes: [
            {
              type: 'Startup'
              httpGet: { path: '/readyz', port: 8081, httpHeaders: [{ name: 'Host', value: 'localhost' }] }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 30
            }
            {
              type: 'Liveness'
              httpGet: { path: '/livez', port: 8081, httpHeaders: [{ name: 'Host', value: 'localhost' }] }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 6
            }
            {
              type: 'Readiness'
              httpGet: { path: '/readyz', port: 8081, httpHeaders: [{ name: 'Host', value: 'localhost' }] }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
          ]
        }
      ]
      volumes: [
        {
          name: 'store'
          storageType: 'AzureFile'
          storageName: environment::store.name
          // The image runs as 65532. Locks must reach the share (never nobrl), and nothing may be cached.
          mountOptions: 'uid=65532,gid=65532,dir_mode=0700,file_mode=0600,cache=none,nosharesock'
        }
        {
          name: 'secrets'
          storageType: 'Secret'
          secrets: [for secret in secretNames: { secretRef: secret, path: secret }]
        }
        {
          name: 'configuration'
          storageType: 'Secret'
          secrets: [{ secretRef: 'configuration', path: 'cxone-sync.toml' }]
        }
      ]
    }
  }
  dependsOn: [maySeeSecrets]
}

@description('service.public_url: what Graph calls.')
output publicUrl string = 'https://${app.properties.configuration.ingress.fqdn}'

@description('For grant-graph.sh.')
output principalId string = identity.properties.principalId
