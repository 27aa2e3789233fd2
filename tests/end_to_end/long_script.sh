#!/bin/bash
# From nothing to a started server, by curl alone: a volume, its properties, a port, a container with an install script.
# Needs TOKEN, BASE_URL and IMAGE.
set -euo pipefail

auth=(-H "Authorization: Bearer $TOKEN" -H "Accept: Application/vnd.pkglatv1+json")
json=(-H "Content-Type: application/json")

VOLUME=$(curl -s -X POST "$BASE_URL/volumes" "${auth[@]}" | jq -r '.volume_id')
echo "volume $VOLUME"

curl -s -X POST "$BASE_URL/volumes/$VOLUME/files" "${auth[@]}" "${json[@]}" \
  -d '{"path": "server.properties", "content": "server-port=25565\nmax-players=20"}'
echo

curl -s -X POST "$BASE_URL/network/ports" "${auth[@]}" "${json[@]}" \
  -d '{"ip": "0.0.0.0", "port": 25565, "protocol": "tcp"}'
echo

curl -s -X POST "$BASE_URL/containers" "${auth[@]}" "${json[@]}" \
  -d "{
    \"internal_id\": \"minecraft-001\",
    \"image\": \"$IMAGE\",
    \"volume_id\": \"$VOLUME\",
    \"startup_command\": \"java -Xmx1G -jar server.jar nogui\",
    \"start_pattern\": \"Done\",
    \"ports\": [{\"ip\": \"0.0.0.0\", \"port\": 25565, \"protocol\": \"tcp\"}],
    \"limits\": {\"memory\": 1073741824, \"cpu\": 2.0},
    \"install_script\": \"#!/bin/bash\\necho 'a game in a jar' > server.jar\\necho 'eula=true' > eula.txt\"
  }"
echo

while true; do
  STATE=$(curl -s -X GET "$BASE_URL/containers/minecraft-001" "${auth[@]}" | jq -r '.install_state')
  echo "state $STATE"
  [ "$STATE" = ready ] && break
  [ "$STATE" = failed ] && exit 1
  sleep 2
done

curl -s -X POST "$BASE_URL/containers/minecraft-001/start" "${auth[@]}"
echo
