//! What has to be done elsewhere, as commands where there are some.

use super::{Grant, GraphCredential};

const REGISTRATION: &str = r#"
  APP=$(az ad app create --display-name cxone-sync --sign-in-audience AzureADMyOrg --query appId -o tsv)
  az ad sp create --id "$APP"
"#;

/// User.Read.All and Group.Read.All of Microsoft Graph. Source: Microsoft Graph permissions reference.
const PERMISSIONS: &str = r#"
  az ad app permission add --id "$APP" --api 00000003-0000-0000-c000-000000000000 \
    --api-permissions df021288-bdef-4463-88db-98f22de89214=Role 5b567255-7703-4780-807c-7be8301ae99b=Role
  az ad app permission admin-consent --id "$APP"
"#;

const MANAGED_IDENTITY: &str = r#"
  IDENTITY=$(az identity show --resource-group contact-centre --name cxone-sync --query principalId -o tsv)
  GRAPH=$(az ad sp show --id 00000003-0000-0000-c000-000000000000 --query id -o tsv)
  for ROLE in df021288-bdef-4463-88db-98f22de89214 5b567255-7703-4780-807c-7be8301ae99b; do
    az rest --method POST --uri "https://graph.microsoft.com/v1.0/servicePrincipals/$IDENTITY/appRoleAssignments" \
      --body "{\"principalId\":\"$IDENTITY\",\"resourceId\":\"$GRAPH\",\"appRoleId\":\"$ROLE\"}"
  done
"#;

const SECRET: &str = r#"
  az ad app credential reset --id "$APP" --years 1 --append --query password -o tsv > graph-secret
"#;

const CERTIFICATE: &str = r#"
  openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=cxone-sync -keyout graph.key -out graph.crt
  az ad app credential reset --id "$APP" --cert @graph.crt --append
"#;

const FEDERATED: &str = r#"
  az ad app federated-credential create --id "$APP" --parameters '{"name":"cxone-sync",
    "issuer":"https://oidc.example.com/","subject":"system:serviceaccount:cxone-sync:cxone-sync",
    "audiences":["api://AzureADTokenExchange"]}'
"#;

/// User.Read.All and Group.Read.All for whom they are needed, and no others; then what proves it.
/// `docs/entra.md` has the same lines.
pub fn entra(credential: GraphCredential, client_id: Option<&str>) -> String {
    let proof = match credential {
        GraphCredential::ManagedIdentity => {
            let what = "In Entra: two read permissions for the identity of the Azure host; no app registration, no secret:";
            return format!("{what}\n{MANAGED_IDENTITY}");
        }
        GraphCredential::Secret => SECRET,
        GraphCredential::Certificate => CERTIFICATE,
        GraphCredential::Federated => FEDERATED,
    };
    let app = client_id.map_or_else(|| REGISTRATION.to_owned(), |id| format!("\n  APP={id}\n"));
    format!(
        "In Entra: an app registration with these application permissions (User.Read.All, Group.Read.All), an\n\
         administrator's consent, and no others:\n{app}{}{}",
        &PERMISSIONS[1..],
        &proof[1..],
    )
}

pub fn cxone(grant: Grant) -> String {
    let credential = match grant {
        Grant::AccessKey => {
            "  1. Admin, Security, Roles: a role with Employees: Create and Edit.\n\
             \x20 2. Admin, Employees: an employee with that role and a login authenticator, invited and activated.\n\
             \x20 3. Add an access key to the employee; its secret is shown once.\n\
             \x20 4. A back-end client_id and client_secret come from NICE's registration form.\n"
        }
        Grant::ClientCredentials => {
            "  1. A client_id and client_secret that may use the SCIM service come from NICE.\n"
        }
        Grant::Bearer => {
            "  1. A token that may use the SCIM service. It will expire: good for a first test.\n"
        }
    };
    format!(
        "In CXone:\n\n{credential}\
         \x20 -  Account Settings: enable the optional fields that are mapped (display name, mobile number, time zone, team).\n\
         \x20 -  A role Agent has to be there, or another default role for new users.\n"
    )
}

pub fn next(file: &str, is_called: bool) -> String {
    let at = format!("cxone-sync --config {file}");
    let subscribe = match is_called {
        true => format!("  {at} subscribe         # has Graph call us\n"),
        false => String::new(),
    };
    format!(
        "Then:\n\n\
         \x20 {at} config validate\n\
         \x20 {at} doctor            # says what is not right yet, and what to do\n\
         \x20 {at} serve\n\
         {subscribe}\
         \x20 {at} plan --all        # what would be written\n"
    )
}
