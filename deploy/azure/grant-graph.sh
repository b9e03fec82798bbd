#!/usr/bin/env bash
# Gives a managed identity what it needs in Graph, and no more: User.Read.All and Group.Read.All. Run by
# somebody who may grant application permissions (Privileged Role Administrator):
#   deploy/azure/grant-graph.sh PRINCIPAL_ID
set -euo pipefail
principal=${1:?usage: grant-graph.sh PRINCIPAL_ID (the output principalId of container-apps.bicep)}
graph=$(az ad sp show --id 00000003-0000-0000-c000-000000000000 --query id --output tsv)
assignments=https://graph.microsoft.com/v1.0/servicePrincipals/$principal/appRoleAssignments
given=$(az rest --method GET --uri "$assignments" --query 'value[].appRoleId' --output tsv)

grant() { # NAME ROLE_ID
    if grep -qxF "$2" <<<"$given"; then
        echo "$1: is granted already"
        return
    fi
    az rest --method POST --uri "$assignments" --output none --headers Content-Type=application/json \
        --body "{\"principalId\": \"$principal\", \"resourceId\": \"$graph\", \"appRoleId\": \"$2\"}"
    echo "$1: granted"
}
grant User.Read.All df021288-bdef-4463-88db-98f22de89214
grant Group.Read.All 5b567255-7703-4780-807c-7be8301ae99b
