#!/bin/sh
set -eu
names=$(env | sed -n "s/^\(${NGINX_ENVSUBST_FILTER}[A-Z_]*\)=.*/\${\1}/p" | tr '\n' ' ')
for template in /etc/nginx/templates/*.template; do
    envsubst "$names" <"$template" >"$NGINX_ENVSUBST_OUTPUT_DIR/$(basename "$template" .template)"
done
exec "$@"
