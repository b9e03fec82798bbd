//! What has to be done elsewhere, as commands where there are some.

use super::{Grant, GraphCredential};

/// The app roles of Microsoft Graph that are needed. Source: Microsoft Graph permissions reference.
const USER_READ_ALL: &str = "df021288-bdef-4463-88db-98f22de89214";
const GROUP_READ_ALL: &str = "5b567255-7703-4780-807c-7be8301ae99b";
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// An app registration with User.Read.All and Group.Read.All, and no others.
pub fn entra(credential: GraphCredential, client_id: Option<&str>) -> String {
    if credential == GraphCredential::ManagedIdentity {
        return format!(
            "In Entra: permissions for the identity of the Azure host (no app registration, no secret):\n\n\
             \x20 SP=<object id of the managed identity>\n\
             \x20 GRAPH=$(az ad sp show --id {GRAPH} --query id -o tsv)\n\
             \x20 for ROLE in {USER_READ_ALL} {GROUP_READ_ALL}; do   # User.Read.All, Group.Read.All\n\
             \x20   az rest --method post --url \"https://graph.microsoft.com/v1.0/servicePrincipals/$SP/appRoleAssignments\" \\\n\
             \x20     --body \"{{\\\"principalId\\\":\\\"$SP\\\",\\\"resourceId\\\":\\\"$GRAPH\\\",\\\"appRoleId\\\":\\\"$ROLE\\\"}}\"\n\
             \x20 done\n"
        );
    }
    let app = match client_id {
        Some(id) => format!("  APP={id}\n"),
        None => "  az ad app create --display-name cxone-sync --sign-in-audience AzureADMyOrg\n\
                 \x20 APP=$(az ad app list --display-name cxone-sync --query '[0].appId' -o tsv)\n\
                 \x20 az ad sp create --id \"$APP\"\n"
            .to_owned(),
    };
    let proof = match credential {
        GraphCredential::Secret => "  az ad app credential reset --id \"$APP\" --years 1 --query password -o tsv\n".to_owned(),
        GraphCredential::Certificate => {
            "  openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=cxone-sync -keyout graph.key -out graph.crt\n\
             \x20 az ad app credential reset --id \"$APP\" --append --cert \"@graph.crt\"\n"
                .to_owned()
        }
        GraphCredential::Federated | GraphCredential::ManagedIdentity => {
            "  az ad app federated-credential create --id \"$APP\" --parameters '{\"name\": \"cxone-sync\",\n\
             \x20   \"issuer\": \"<OIDC issuer of the cluster>\", \"subject\": \"system:serviceaccount:<namespace>:<account>\",\n\
             \x20   \"audiences\": [\"api://AzureADTokenExchange\"]}'\n"
                .to_owned()
        }
    };
    format!(
        "In Entra: an app registration with these application permissions, an administrator's consent, and no others:\n\n\
         {app}\
         \x20 # Microsoft Graph: User.Read.All, Group.Read.All\n\
         \x20 az ad app permission add --id \"$APP\" --api {GRAPH} \\\n\
         \x20   --api-permissions {USER_READ_ALL}=Role {GROUP_READ_ALL}=Role\n\
         \x20 az ad app permission admin-consent --id \"$APP\"\n\
         {proof}"
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
