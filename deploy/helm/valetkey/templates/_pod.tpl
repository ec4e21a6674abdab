{{/* What every pod of ours forbids itself. */}}
{{- define "valetkey.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.runAsUser | int64 }}
runAsGroup: {{ .Values.runAsUser | int64 }}
fsGroup: {{ .Values.runAsUser | int64 }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What every container of ours forbids itself. */}}
{{- define "valetkey.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Where a pod goes and what its image needs; the same for every pod of ours. */}}
{{- define "valetkey.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* A probe. Takes (dict "root" $ "path" "/readyz" "times" .Values.probes.readiness). */}}
{{- define "valetkey.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  {{- if dig "server" "tls_certificate_file" "" .root.Values.config }}
  scheme: HTTPS
  {{- end }}
{{ toYaml .times }}
{{- end -}}

{{/* Egress rules of NetworkPolicy from a list of {to, ports}, all TCP. */}}
{{- define "valetkey.egress" -}}
{{- range . }}
- to: {{ toYaml .to | nindent 4 }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . | int64 }}}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "valetkey.egressDns" -}}
{{- with .Values.networkPolicy.egress.dns }}
- to: {{ toYaml . | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}
{{- end -}}
