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

{{/* What the values say, and what follows from where things lie in the pod. */}}
{{- define "collectord.toml" -}}
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
{{- mergeOverwrite $ours (omit .Values.config "") | toToml -}}
{{- end -}}

{{- define "collectord.check" -}}
{{- if and (not .Values.existingConfigMap) (not .Values.config.store) -}}
{{- fail "config.store: say where rows land, such as az://modeldata, with config.azure_account_url" -}}
{{- end -}}
{{- if eq .Values.mode "daemonset" -}}
{{- if not (or .Values.transport.socket.enabled .Values.transport.service.enabled) -}}
{{- fail "transport: enable the socket, the service, or both; nobody could reach the daemon" -}}
{{- end -}}
{{- if and .Values.transport.service.enabled (or (not .Values.transport.service.tlsSecret) (not .Values.transport.service.tenantsSecret)) -}}
{{- fail "transport.service: needs tlsSecret and tenantsSecret; beyond loopback nothing listens without TLS and tenants" -}}
{{- end -}}
{{- end -}}
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
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .Values.secrets.existingSecret .Values.envFrom }}
envFrom:
  {{- with .Values.secrets.existingSecret }}
  - secretRef: {name: {{ . }}}
  {{- end }}
  {{- with .Values.envFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - {name: admin, containerPort: {{ .Values.admin.port }}, protocol: TCP}
  {{- if and (eq .Values.mode "daemonset") .Values.transport.service.enabled }}
  - {name: collect, containerPort: {{ .Values.transport.service.port }}, protocol: TCP}
  {{- end }}
startupProbe: {{- toYaml .Values.startupProbe | nindent 2 }}
livenessProbe: {{- toYaml .Values.livenessProbe | nindent 2 }}
readinessProbe: {{- toYaml .Values.readinessProbe | nindent 2 }}
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

{{- define "collectord.prepare" -}}
{{- $user := printf "%d:%d" (int .Values.securityContext.runAsUser) (int .Values.securityContext.runAsGroup) -}}
{{- if .Values.transport.socket.enabled -}}
chown {{ $user }} /run/collectord && chmod 0755 /run/collectord && {{ end -}}
chown {{ $user }} /var/lib/collectord && chmod 0700 /var/lib/collectord
{{- end -}}
