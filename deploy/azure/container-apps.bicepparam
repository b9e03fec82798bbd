using 'container-apps.bicep'

param image = 'registry.example.com/cxone-sync:0.1.0'
param keyVaultName = 'contoso-cxone-sync'
param cxoneSubdomain = 'contoso'
param cxoneClientId = 'from NICE'
param cxoneAccessKeyId = 'the access key'
param mode = 'observe'
