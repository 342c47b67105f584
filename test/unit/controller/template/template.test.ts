import { describe, expect, it } from 'vitest';

import { templateData } from '../../../../controller/template/pod-data.ts';
import { parseTemplate } from '../../../../controller/template/template.ts';
import { TemplateError } from '../../../../controller/template/template-error.ts';
import { thrownBy } from '../../../support/thrown-by.ts';

const pod = {
  metadata: { name: 'web-0', namespace: 'shop', labels: { app: 'web' }, uid: 'u-1' },
  spec: { serviceAccountName: 'shopper', containers: [{ name: 'web' }, { name: 'side' }] },
};
const node = { metadata: { name: 'node-1', uid: 'n-1' }, spec: {} };
const data = templateData({ trustDomain: 'example.org', clusterName: 'main', clusterDomain: 'cluster.local', pod, node });

function render(text: string): string {
  return parseTemplate(text, 'spec.spiffeIDTemplate').render(data);
}

function failureOf(run: () => unknown): TemplateError {
  const error = thrownBy(run);
  if (error instanceof TemplateError) return error;
  throw new Error(`no TemplateError: ${String(error)}`);
}

describe('a template', () => {
  it('renders an ID', () => {
    const text = 'spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}';
    expect(render(text)).toBe('spiffe://example.org/ns/shop/sa/shopper');
  });

  it.each([
    ['{{ range $i, $c := .PodSpec.Containers }}{{ if $i }},{{ end }}{{ $c.Name }}{{ end }}', 'web,side'],
    ['{{ with index .PodMeta.Labels "team" }}{{ . }}{{ else }}{{ .PodMeta.Name | printf "of-%s" }}{{ end }}', 'of-web-0'],
    ['{{ .PodMeta.Labels.team }}|{{ index .PodMeta.Labels "team" }}', '<no value>|'],
    ['a {{- /* not seen */ -}} b', 'ab'],
  ])('renders %s', (text, output) => {
    expect(render(text)).toBe(output);
  });

  it('renders a parent ID without a pod', () => {
    const source = { trustDomain: 'example.org', clusterName: 'main', clusterDomain: 'c', node };
    const parent = parseTemplate('{{ .ClusterName }}/{{ .NodeMeta.UID }}', 'parentIDTemplate');
    expect(parent.render(templateData(source))).toBe('main/n-1');
    const wrong = parseTemplate('{{ .PodMeta.Name }}', 'parentIDTemplate');
    expect(failureOf(() => wrong.render(templateData(source))).failure).toBe('execution');
  });

  it('says where it is wrong', () => {
    const { code, field, line, column, failure } = failureOf(() => parseTemplate('a\n  {{ .PodMeta.Nmae }}', 'spec.x'));
    expect({ code, field, line, column, failure }).toEqual({
      code: 'invalid_argument',
      field: 'spec.x',
      line: 2,
      column: 6,
      failure: 'certain',
    });
  });

  it.each([
    ['{{ if true }}', 'syntax', 4],
    ['{{ "é" }}{{ upper }}', 'syntax', 13],
    ['{{ define "x" }}{{ end }}', 'unsupported', 4],
    ['{{ .PodSpec.Containers }}', 'unsupported', 4],
    ['{{ print .PodSpec }}', 'unsupported', 10],
    ['{{ "a" | len "b" }}', 'certain', 10],
  ])('refuses %s at its place', (text, failure, column) => {
    const error = failureOf(() => parseTemplate(text, 'f'));
    expect([error.failure, error.line, error.column]).toEqual([failure, 1, column]);
  });

  it('says where it fails on the data', () => {
    const parsed = parseTemplate('{{ .PodMeta.Name }}{{ index .PodMeta.Finalizers 0 }}', 'f');
    const { failure, column, code } = failureOf(() => parsed.render(data));
    expect([failure, column, code]).toEqual(['execution', 23, 'invalid_argument']);
  });

  it.each([
    [{ metadata: { name: 5 }, spec: {} }, '{{ .PodMeta.Name }}'],
    [{ metadata: { labels: ['a'] }, spec: {} }, '{{ .PodMeta.Labels.a }}'],
    [{ metadata: { labels: { app: { a: 1 } } }, spec: {} }, '{{ .PodMeta.Labels.app }}'],
    [{ metadata: {}, spec: { priority: 1.5 } }, '{{ .PodSpec.Priority }}'],
    [{ metadata: { generation: 2 ** 60 }, spec: {} }, '{{ .PodMeta.Generation }}'],
    [{ metadata: {}, spec: { containers: {} } }, '{{ range .PodSpec.Containers }}x{{ end }}'],
    [{ metadata: {}, spec: { containers: ['a'] } }, '{{ range .PodSpec.Containers }}{{ .Name }}{{ end }}'],
    [{ metadata: {}, spec: { hostNetwork: 'yes' } }, '{{ .PodSpec.HostNetwork }}'],
    [{ metadata: 'none', spec: [] }, '{{ .PodMeta.Name }}'],
  ])('fails on objects that no API server gives: %j', (odd, text) => {
    const source = { trustDomain: 'example.org', clusterName: '', clusterDomain: '', pod: odd };
    expect(failureOf(() => parseTemplate(text, 'f').render(templateData(source))).failure).toBe('execution');
  });

  it('reads a label of any name as a label', () => {
    const labels: unknown = JSON.parse('{"__proto__":"p","constructor":"c"}');
    const odd = templateData({ trustDomain: '', clusterName: '', clusterDomain: '', pod: { metadata: { labels } } });
    const text = '{{ .PodMeta.Labels.__proto__ }}{{ .PodMeta.Labels.constructor }}{{ .PodMeta.Labels.toString }}';
    expect(parseTemplate(text, 'f').render(odd)).toBe('pc<no value>');
  });
});

describe('what a template reads', () => {
  it.each([
    ['plain', []],
    ['{{ .PodMeta.Name }}/{{ .PodMeta.Labels.app }}', ['PodMeta.Labels', 'PodMeta.Name']],
    ['{{ index .PodMeta.Labels "app" }}', ['PodMeta.Labels']],
    ['{{ with .PodSpec }}{{ .ServiceAccountName }}{{ end }}', ['PodSpec.ServiceAccountName']],
    ['{{ $s := .PodSpec }}{{ if $s.HostNetwork }}{{ $s.NodeName }}{{ end }}', ['PodSpec.HostNetwork', 'PodSpec.NodeName']],
    ['{{ range .PodSpec.Containers }}{{ .Name }}{{ $.TrustDomain }}{{ end }}', ['PodSpec.Containers', 'TrustDomain']],
    ['{{ if .PodSpec.SecurityContext }}x{{ end }}', ['PodSpec.SecurityContext']],
    ['{{ .PodSpec.SecurityContext.RunAsUser }}', ['PodSpec.SecurityContext.RunAsUser']],
    ['{{ (or .PodMeta .NodeMeta).Name }}', ['NodeMeta.Name', 'PodMeta.Name']],
    ['{{ .PodMeta.GetLabels.app }}', ['PodMeta.Labels']],
    ['{{ $x := .PodMeta }}{{ range 2 }}{{ $x.Name }}{{ $x = $.NodeMeta }}{{ end }}', ['NodeMeta.Name', 'PodMeta.Name']],
    [
      '{{ $x := .PodSpec.SecurityContext.RunAsUser }}{{ $y := .PodMeta.Labels.app }}',
      ['PodMeta.Labels', 'PodSpec.SecurityContext.RunAsUser'],
    ],
    ['{{ $x := .PodMeta.Name }}', []],
    ['{{ eq . nil }}', ['']],
    ['{{ eq .PodSpec nil }}{{ .PodSpec.NodeName }}', ['PodSpec']],
  ])('%s', (text, paths) => {
    expect(parseTemplate(text, 'f').references.map((path) => path.join('.'))).toEqual(paths);
  });
});

describe('a hostile template', () => {
  it.each([
    '{{ range 1000000000000 }}{{ end }}',
    '{{ range 9223372036854775807 }}x{{ end }}',
    `${'{{ range 1000 }}'.repeat(50)}${'{{ end }}'.repeat(50)}`,
    '{{ range 100000 }}a long text that is written again and again{{ end }}',
    '{{ $x := "0123456789" }}{{ range 1000 }}{{ $x = print $x $x }}{{ end }}',
    '{{ $x := "0123456789" }}{{ range 1000 }}{{ $x = printf "%s%s" $x $x }}{{ end }}',
    '{{ $x := "&<>" }}{{ range 1000 }}{{ $x = html $x $x }}{{ end }}',
    '{{ $x := "&<>" }}{{ range 1000 }}{{ $x = js $x }}{{ end }}',
    '{{ $x := "&<>" }}{{ range 1000 }}{{ $x = urlquery $x $x }}{{ end }}',
    '{{ printf "%100000000d" 1 }}',
    '{{ printf "%.100000000d" 1 }}',
    `{{ ${'('.repeat(5_000)}1${')'.repeat(5_000)} }}`,
    '{{ if true }}'.repeat(1_200),
    'x'.repeat(20_000),
  ])('%# is stopped', (text) => {
    const { failure, code } = failureOf(() => render(text));
    expect([failure, code]).toEqual(['limit', 'resource_exhausted']);
  });

  it('is stopped on large objects as well', () => {
    const labels = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`label-${index}`, 'x'.repeat(60)]));
    const large = templateData({ trustDomain: '', clusterName: '', clusterDomain: '', pod: { metadata: { labels } } });
    const text =
      '{{ range $a, $b := .PodMeta.Labels }}{{ range $c, $d := $.PodMeta.Labels }}{{ len $.PodMeta.Labels }}{{ end }}{{ end }}';
    expect(failureOf(() => parseTemplate(text, 'f').render(large)).failure).toBe('limit');
  });
});
