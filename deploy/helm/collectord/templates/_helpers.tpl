{{- define "collectord.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "collectord.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "collectord.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "collectord.selector" -}}
app.kubernetes.io/name: {{ include "collectord.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "collectord.labels" -}}
{{ include "collectord.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: collectord
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "collectord.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "collectord.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "collectord.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "collectord.configMap" -}}
{{- default (include "collectord.fullname" .) .Values.existingConfigMap -}}
{{- end -}}

{{/* Seconds that a pod has to end: what it may need to upload, and some room. */}}
{{- define "collectord.grace" -}}
{{- $drain := default 50 .Values.config.drain_deadline | float64 -}}
{{- $grace := default (add ($drain | ceil | int) 15) .Values.terminationGracePeriodSeconds | int -}}
{{- if lt ($grace | float64) (addf $drain 10) -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is less than 10 s above config.drain_deadline, %v" $grace $drain) -}}
{{- end -}}
{{- $grace -}}
{{- end -}}

{{/* What the values say, and what follows from where things lie in the pod; as JSON. */}}
{{- define "collectord.settings" -}}
{{- $socket := "unix:/run/collectord/collectord.sock" -}}
{{- $listen := list -}}
{{- if or .Values.transport.socket.enabled (eq .Values.mode "sidecar") -}}
{{- $listen = append $listen $socket -}}
{{- end -}}
{{- $ours := dict "spool" "/var/lib/collectord/spool" "admin" (printf "0.0.0.0:%d" (int .Values.admin.port)) -}}
{{- if eq .Values.mode "daemonset" -}}
{{- $_ := set $ours "socket_mode" .Values.transport.socket.mode -}}
{{- with .Values.transport.socket.group -}}{{- $_ := set $ours "socket_group" . -}}{{- end -}}
{{- if .Values.transport.service.enabled -}}
{{- $listen = append $listen (printf "0.0.0.0:%d" (int .Values.transport.service.port)) -}}
{{- $_ := set $ours "tls_cert" "/etc/collectord-tls/tls.crt" -}}
{{- $_ := set $ours "tls_key" "/etc/collectord-tls/tls.key" -}}
{{- $_ := set $ours "tenants" "/etc/collectord-tenants/tenants.toml" -}}
{{- end -}}
{{- end -}}
{{- $_ := set $ours "listen" $listen -}}
{{- mergeOverwrite $ours (omit .Values.config "") | toJson -}}
{{- end -}}

{{- define "collectord.toml" -}}
{{- include "collectord.settings" . | fromJson | toToml -}}
{{- end -}}

{{/* Changes where a setting does that waits for a restart, and so replaces the pods; the others a daemon takes from its file. */}}
{{- define "collectord.checksum" -}}
{{- $settings := include "collectord.settings" . | fromJson -}}
{{- range .Files.Get "files/at-once.yaml" | fromYamlArray -}}
{{- $_ := unset $settings . -}}
{{- end -}}
{{- $settings | toJson | sha256sum -}}
{{- end -}}

{{- define "collectord.annotations" -}}
{{- if not .Values.existingConfigMap -}}
checksum/restart-settings: {{ include "collectord.checksum" . }}
{{ end -}}
{{- if .Values.scrapeAnnotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.admin.port | quote }}
prometheus.io/path: /metrics
{{- if .Values.config.admin_tls }}
prometheus.io/scheme: https
{{- end }}
{{ end -}}
{{- end -}}

{{/* Of a pod that has a daemon beside its own containers. */}}
{{- define "collectord.sidecar" -}}
collectord/sidecar: {{ .Release.Name | quote }}
{{- end -}}

{{- define "collectord.check" -}}
{{- if and (not .Values.existingConfigMap) (not .Values.config.store) -}}
{{- fail "config.store: say where rows land, such as az://modeldata, with config.azure_account_url" -}}
{{- end -}}
{{- if eq .Values.mode "daemonset" -}}
{{- with .Values.updateStrategy.rollingUpdate -}}
{{- if ne (toString (default 0 .maxSurge)) "0" -}}
{{- fail "updateStrategy.rollingUpdate.maxSurge: two daemons cannot share a node's spool, so the second would never be ready; use maxUnavailable" -}}
{{- end -}}
{{- end -}}
{{- if not (or .Values.transport.socket.enabled .Values.transport.service.enabled) -}}
{{- fail "transport: enable the socket, the service, or both; nobody could reach the daemon" -}}
{{- end -}}
{{- if and .Values.transport.service.enabled (or (not .Values.transport.service.tlsSecret) (not .Values.transport.service.tenantsSecret)) -}}
{{- fail "transport.service: needs tlsSecret and tenantsSecret; beyond loopback nothing listens without TLS and tenants" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* With a workload identity no other one is tried: what is wrong with it is said, and nothing waits for a node's own identity. */}}
{{- define "collectord.credential" -}}
{{- if and .Values.workloadIdentity.clientId (not .Values.config.azure_credential) -}}
- {name: COLLECTORD_AZURE_CREDENTIAL, value: workload}
{{- end -}}
{{- end -}}

{{- define "collectord.envFrom" -}}
{{- with .Values.secrets.existingSecret -}}
- secretRef: {name: {{ . }}}
{{ end -}}
{{- with .Values.envFrom -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* A probe, over TLS where the admin port speaks it; the kubelet checks no certificate. */}}
{{- define "collectord.probe" -}}
{{- $probe := deepCopy (index . 1) -}}
{{- if and (index . 0).Values.config.admin_tls $probe.httpGet -}}
{{- $_ := set $probe.httpGet "scheme" "HTTPS" -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{/* The daemon's container; also that of the side-car. */}}
{{- define "collectord.container" -}}
name: collectord
image: {{ include "collectord.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/collectord/collectord.toml]
env:
  - name: COLLECTORD_NODE
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  {{- include "collectord.credential" . | nindent 2 }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "collectord.envFrom" . | trim }}
envFrom: {{- . | nindent 2 }}
{{- end }}
ports:
  - {name: admin, containerPort: {{ .Values.admin.port }}, protocol: TCP}
  {{- if and (eq .Values.mode "daemonset") .Values.transport.service.enabled }}
  - {name: collect, containerPort: {{ .Values.transport.service.port }}, protocol: TCP}
  {{- end }}
startupProbe: {{- include "collectord.probe" (list . .Values.startupProbe) | nindent 2 }}
livenessProbe: {{- include "collectord.probe" (list . .Values.livenessProbe) | nindent 2 }}
readinessProbe: {{- include "collectord.probe" (list . .Values.readinessProbe) | nindent 2 }}
{{- with .Values.lifecycle }}
lifecycle: {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/collectord, readOnly: true}
  - {name: spool, mountPath: /var/lib/collectord}
  {{- if or .Values.transport.socket.enabled (eq .Values.mode "sidecar") }}
  - {name: socket, mountPath: /run/collectord}
  {{- end }}
  {{- if and (eq .Values.mode "daemonset") .Values.transport.service.enabled }}
  - {name: tls, mountPath: /etc/collectord-tls, readOnly: true}
  - {name: tenants, mountPath: /etc/collectord-tenants, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* How a client finds the daemon over the Service: variables, and volumes to be mounted where those say. */}}
{{- define "collectord.client" -}}
- {name: COLLECTORD_ENDPOINT, value: "tls://{{ include "collectord.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.transport.service.port }}"}
- {name: COLLECTORD_TLS_CA, value: /etc/collectord-tls/ca.crt}
- {name: COLLECTORD_TOKEN_FILE, value: /etc/collectord-token/token}
{{- end -}}

{{- define "collectord.clientVolumes" -}}
- name: tls
  secret: {secretName: {{ .Values.transport.service.tlsSecret }}, items: [{key: ca.crt, path: ca.crt}]}
- name: token
  secret: {secretName: {{ default (printf "%s-example-token" (include "collectord.fullname" .)) .Values.transport.service.tokenSecret }}, items: [{key: token, path: token}]}
{{- end -}}

{{- define "collectord.prepare" -}}
{{- $user := printf "%d:%d" (int .Values.securityContext.runAsUser) (int .Values.securityContext.runAsGroup) -}}
{{- if .Values.transport.socket.enabled -}}
chown {{ $user }} /run/collectord && chmod 0755 /run/collectord && {{ end -}}
chown {{ $user }} /var/lib/collectord && chmod 0700 /var/lib/collectord
{{- end -}}
