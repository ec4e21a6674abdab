{{/* What the chart itself fixes in valetkey.yaml: where things are mounted, and where we listen. */}}
{{- define "valetkey.fixed" -}}
catalogue: /etc/valetkey/catalogue
policies: /etc/valetkey/policies
database:
  url_file: /var/run/valetkey/secrets/database/url
server:
  host: 0.0.0.0
  port: 8210
times:
  mint_limit: {{ .Values.mintLimitSeconds | int64 }}
{{- if .Values.config.openbao }}
openbao:
  identity_token_file: /var/run/valetkey/openbao/token
{{- end }}
{{- if include "valetkey.awsToken" . }}
aws:
  web_identity_token_file: /var/run/valetkey/aws/token
{{- end }}
{{- end -}}

{{/* Something when we are who a role of AWS lets in by a projected token, and hold no key. */}}
{{- define "valetkey.awsToken" -}}
{{- if and .Values.config.aws (not (dig "access_key_file" "" (.Values.config.aws | default dict))) }}yes{{ end -}}
{{- end -}}

{{/* Something when an issuer is this very cluster, whose API server we ask with a token of ours. */}}
{{- define "valetkey.asksCluster" -}}
{{- range .Values.config.issuers | default list -}}
{{- if eq (dig "cluster" "token_file" "" .) "/var/run/valetkey/cluster/token" }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/* Something when the bundle of a trust domain is in the ConfigMap that we mount. */}}
{{- define "valetkey.readsBundle" -}}
{{- range .Values.config.issuers | default list -}}
{{- if hasPrefix "/var/run/valetkey/bundle/" (dig "x509_bundle_file" "" .) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/* Something when an agent tells the bundle of a trust domain, at a socket that we mount. */}}
{{- define "valetkey.asksAgent" -}}
{{- range .Values.config.issuers | default list -}}
{{- if hasPrefix "unix:/var/run/valetkey/spiffe/" (dig "workload_api" "" .) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/* valetkey.yaml as `serve` reads it. */}}
{{- define "valetkey.config" -}}
{{- mergeOverwrite (deepCopy .Values.config) (include "valetkey.fixed" . | fromYaml) | toYaml -}}
{{- end -}}

{{/* The same as `migrate` reads it: it alone knows where the owner's URL is. */}}
{{- define "valetkey.migrationConfig" -}}
{{- $own := dict "database" (dict "migration_url_file" "/var/run/valetkey/secrets/migration/url") -}}
{{- mergeOverwrite (include "valetkey.config" . | fromYaml) $own | toYaml -}}
{{- end -}}
