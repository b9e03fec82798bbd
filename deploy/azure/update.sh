#!/usr/bin/env bash
# Deploys with the old revision stopped first: two at once would want the same store.
#   deploy/azure/update.sh RESOURCE_GROUP [NAME]
set -euo pipefail
group=${1:?usage: update.sh RESOURCE_GROUP [NAME]}
name=${2:-cxone-sync}
here=$(cd "$(dirname "$0")" && pwd)

active() {
    az containerapp revision list --resource-group "$group" --name "$name" \
        --query "[?properties.active].name" --output tsv
}
replicas() { # REVISION
    az containerapp replica list --resource-group "$group" --name "$name" --revision "$1" \
        --query "length(@)" --output tsv
}

if az containerapp show --resource-group "$group" --name "$name" --output none 2>/dev/null; then
    for revision in $(active); do
        az containerapp revision deactivate --resource-group "$group" --name "$name" --revision "$revision" \
            --output none
        for _ in $(seq 60); do
            [ "$(replicas "$revision")" = 0 ] && break
            sleep 5
        done
        if [ "$(replicas "$revision")" != 0 ]; then
            echo "$revision still runs: nothing was deployed; look at it, and try again" >&2
            exit 1
        fi
        echo "$revision has stopped"
    done
fi
az deployment group create --resource-group "$group" --name "$name" \
    --template-file "$here/container-apps.bicep" --parameters "$here/container-apps.bicepparam" name="$name" \
    --query properties.outputs --output jsonc
# Where nothing has changed there is no new revision, and the one that was stopped must start again.
latest=$(az containerapp show --resource-group "$group" --name "$name" \
    --query properties.latestRevisionName --output tsv)
if ! active | grep -qxF "$latest"; then
    az containerapp revision activate --resource-group "$group" --name "$name" --revision "$latest" --output none
    echo "$latest starts again"
fi
