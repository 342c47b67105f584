// The text of docs/resources.md.
import { labelSelector } from '../policy/schema/label-selector.ts';
import type { ResourceDefinition } from '../policy/schema/resource.ts';
import { condition } from '../policy/schema/condition.ts';
import type { OpenApiSchema } from '../policy/schema/schema.ts';

type Definition = ResourceDefinition<unknown>;

/** The reference of the Kubernetes resources, as Markdown. */
export function resourceReference(definitions: readonly Definition[]): string {
  const shared = [
    section(
      'Label selectors',
      'Where a resource selects by labels. All that is asked for must hold; an empty selector selects everything.',
      [table('selector', labelSelector.openApi)],
    ),
    section('Conditions', 'In `status.conditions` of each resource, one of each type.', [table('condition', condition.openApi)]),
  ];
  return `${[INTRODUCTION, ...definitions.map(kindSection), ...shared, SPIRE].join('\n\n')}\n`;
}

const INTRODUCTION = `# Kubernetes resources

Written by \`npm run generate\` from the definitions in \`crds/\`: change those.

All are of \`countersign.dev/v1alpha1\` and of the category \`countersign\` (\`kubectl get countersign\`). The API server refuses unknown fields
(with \`--validate=strict\`, kubectl's default) and whatever breaks a limit or rule below, naming the field. What cannot be judged without the
state of the cluster, such as whether a template renders for the pods that it would apply to, is judged by the controller's webhook.

Durations are written as \`90s\`, \`30m\` or \`1h30m\`. Templates are those of Go's \`text/template\`, over \`.TrustDomain\`, \`.ClusterName\`,
\`.ClusterDomain\`, \`.PodMeta\`, \`.PodSpec\`, \`.NodeMeta\` and \`.NodeSpec\`; those of a WorkloadIdentity cannot read the
last two, which are about the node.`;

const SPIRE = `## SPIRE's own kinds

\`ClusterSPIFFEID\`, \`ClusterStaticEntry\` and \`ClusterFederatedTrustDomain\` of \`spire.spiffe.io/v1alpha1\` are acted on as they stand where their
CustomResourceDefinitions are in the cluster, and their status fields are SPIRE's. To move one over, change \`apiVersion\` and \`kind\`: the
fields keep their names.

| SPIRE's kind | the same here |
| --- | --- |
| \`ClusterSPIFFEID\` | \`ClusterWorkloadIdentity\` |
| \`ClusterStaticEntry\` | \`StaticIdentity\` |
| \`ClusterFederatedTrustDomain\` | \`FederatedTrustDomain\` |`;

function section(title: string, text: string, parts: readonly string[]): string {
  return [`## ${title}`, text, ...parts].join('\n\n');
}

function kindSection(definition: Definition): string {
  const { type, shortNames, description, spec, status, example } = definition;
  const scope = type.namespaced ? 'Namespaced' : 'Cluster-scoped';
  const names = `${scope}; \`kubectl get ${type.plural}\` or \`${shortNames.join('`, `')}\`.`;
  return section(type.kind, `${description} ${names}`, [
    `\`\`\`yaml\n${example.trim()}\n\`\`\``,
    table('spec', spec.openApi),
    ...together(rulesOf(spec.openApi)),
    table('status', status.openApi),
  ]);
}

/** Rules that are about more than one field. */
function together(rules: readonly string[]): string[] {
  return rules.length === 0 ? [] : [`Rules about several fields:\n\n${rules.map((rule) => `- ${rule}`).join('\n')}`];
}

function table(title: string, schema: OpenApiSchema): string {
  const head = `| \`${title}\` | type | default | meaning |\n| --- | --- | --- | --- |`;
  return [head, ...rowsOf(schema, '')].join('\n');
}

function rowsOf(schema: OpenApiSchema, prefix: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    const isRequired = schema.required?.includes(name) ?? false;
    const fallback = isRequired ? 'required' : field.default === undefined ? '–' : `\`${field.default}\``;
    const row = `| \`${path}\` | ${typeOf(field)} | ${fallback} | ${escaped(meaningOf(field))} |`;
    return isExplainedElsewhere(field)
      ? [row]
      : [row, ...rowsOf(field.items ?? field, field.items === undefined ? `${path}.` : `${path}[].`)];
  });
}

function isExplainedElsewhere(field: OpenApiSchema): boolean {
  return isLabelSelector(field) || isCondition(field.items) || field['x-kubernetes-preserve-unknown-fields'] === true;
}

const isLabelSelector = ({ properties }: OpenApiSchema): boolean => properties === labelSelector.openApi.properties;
const isCondition = (item: OpenApiSchema | undefined): boolean =>
  item !== undefined && item.properties === condition.openApi.properties;

function typeOf(field: OpenApiSchema): string {
  if (isLabelSelector(field)) return '[label selector](#label-selectors)';
  if (isCondition(field.items)) return '[conditions](#conditions)';
  if (field['x-kubernetes-preserve-unknown-fields']) return 'JSON object';
  if (field.title !== undefined) return field.title;
  if (field.enum !== undefined) return field.enum.map((each) => `\`${each}\``).join(', ');
  if (field.items !== undefined) return `list of ${pluralOf(typeOf(field.items))}`;
  if (field.additionalProperties !== undefined) return `map of ${pluralOf(typeOf(field.additionalProperties))}`;
  return { string: 'text', integer: 'whole number', boolean: '`true`, `false`', object: 'object', array: 'list' }[
    field.type ?? 'object'
  ];
}

const pluralOf = (type: string): string => (/^[\w ]+$/.test(type) ? `${type}s` : type);

function meaningOf(field: OpenApiSchema): string {
  const inner = field.items ?? field.additionalProperties;
  const isClaims = field['x-kubernetes-preserve-unknown-fields'] === true;
  const each =
    inner === undefined || isCondition(field.items)
      ? []
      : [...limitsOf(inner), ...rulesOf(inner)].map((limit) => `each ${limit}`);
  const limits = [...limitsOf(field), ...(isClaims || isLabelSelector(field) ? [] : rulesOf(field)), ...each];
  const ending = limits.length === 0 ? '' : ` Limits: ${limits.join('; ')}.`;
  return `${field.description ?? ''}${ending}`;
}

function limitsOf({ minItems, maxItems, maxLength, maxProperties, minimum, ...field }: OpenApiSchema): string[] {
  return [
    ...(minItems === undefined ? [] : [`at least ${minItems}`]),
    ...(maxItems === undefined ? [] : [`at most ${maxItems}`]),
    ...(field['x-kubernetes-list-type'] === 'set' ? ['none twice'] : []),
    ...(maxProperties === undefined ? [] : [`at most ${maxProperties} keys`]),
    ...(maxLength === undefined ? [] : [`at most ${maxLength} characters`]),
    ...(minimum === undefined ? [] : [`not below ${minimum}`]),
  ];
}

function rulesOf(schema: OpenApiSchema): string[] {
  return (schema['x-kubernetes-validations'] ?? []).map(({ message, fieldPath }) =>
    fieldPath === undefined || message.startsWith(fieldPath.slice(1)) ? message : `\`${fieldPath.slice(1)}\`: ${message}`,
  );
}

const escaped = (text: string): string => text.replaceAll('|', String.raw`\|`);
