import { IdentityError } from '../../core/errors.ts';
import { checkDnsName } from '../../spiffe/dns-name.ts';
import { isReservedPath, parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { DesiredEntry, NodeRecord, PodRecord } from '../ports.ts';
import type { Budget } from '../template/budget.ts';
import { templateData, type TemplateData } from '../template/pod-data.ts';
import type { Template } from '../template/template.ts';
import { renderClaims, type CompiledDeclaration } from './compiled-declaration.ts';
import { checkSelector, entryKey, normalizeSelectors } from './entry-key.ts';
import { dnsNamesOfService } from './service-names.ts';
import type { IdentitySettings } from './settings.ts';

/** What an entry is rendered from. */
export interface RenderInput {
  readonly pod: PodRecord;
  readonly node: NodeRecord;
  /** The agent of the pod's node: {@link renderParentId}. */
  readonly parentId: string;
  /** The Services that the pod is behind, sorted. */
  readonly services: readonly string[];
  /** What all templates of the entry may take together. */
  readonly budget: Budget;
}

/** The ID of the agent on a node. @throws IdentityError */
export function renderParentId(node: NodeRecord, settings: IdentitySettings): string {
  const text = settings.parentIdTemplate.render(dataOf(settings, node));
  const id = parseSpiffeId(text, 'parentIdTemplate');
  checkTrustDomain(id, settings, 'parentIdTemplate');
  return text;
}

/**
 * The entry that a declaration gives a pod.
 *
 * @throws IdentityError that says what is wrong with the declaration or with this pod
 */
export function renderPodEntry(compiled: CompiledDeclaration, input: RenderInput, settings: IdentitySettings): DesiredEntry {
  const { declaration } = compiled;
  const { pod, parentId, budget } = input;
  if (pod.uid === '') throw new IdentityError('invalid_argument', 'the pod has no uid, so that no agent could tell it apart');
  const data = dataOf(settings, input.node, pod);
  const spiffeId = renderSpiffeId(compiled, data, { input, settings });
  const selectors = compiled.selectors.map((template, index) =>
    checkSelector(template.render(data, budget), `spec.workloadSelectorTemplates[${index}]`),
  );
  const identity = { spiffeId, parentId, selectors: normalizeSelectors([`k8s:pod-uid:${pod.uid}`, ...selectors]) };
  const render = (template: Template): string => template.render(data, budget);
  return {
    ...identity,
    key: entryKey(identity),
    x509SvidTtlSeconds: seconds(declaration.ttl),
    jwtSvidTtlSeconds: seconds(declaration.jwtTtl),
    federatesWith: declaration.federatesWith.map(({ name }) => name),
    admin: declaration.admin,
    downstream: declaration.downstream,
    dnsNames: renderDnsNames(compiled, data, { input, settings }),
    hint: declaration.hint,
    storeSvid: false,
    jwtClaims: compiled.jwtClaims && renderClaims(compiled.jwtClaims, render),
    ...(settings.declaresWorkloads ? { workload: { namespace: pod.namespace, serviceAccount: pod.serviceAccountName } } : {}),
  };
}

function dataOf(settings: IdentitySettings, node: NodeRecord, pod?: PodRecord): TemplateData {
  const { trustDomain, clusterName, clusterDomain } = settings;
  return templateData({ trustDomain: trustDomain.name, clusterName, clusterDomain, pod: pod?.object, node: node.object });
}

function renderSpiffeId(compiled: CompiledDeclaration, data: TemplateData, { input, settings }: RenderContext): string {
  const { pod, budget } = input;
  const rendered = compiled.spiffeId.render(data, budget);
  const isOwn = compiled.declaration.pathTemplate !== undefined;
  const field = isOwn ? 'spec.pathTemplate' : 'spec.spiffeIDTemplate';
  // What an application team gives is a part of the path; that it stays below the namespace's own is thereby certain.
  const text = isOwn ? `${settings.trustDomain.idString}${settings.namespacePath(pod.namespace)}/${rendered}` : rendered;
  const id = parseRendered(text, field);
  checkTrustDomain(id, settings, field);
  if (isReservedPath(id)) {
    throw new IdentityError('invalid_argument', `"${text}" lies below /spire, which is reserved for the CA and its agents`, {
      field,
    });
  }
  return text;
}

function parseRendered(text: string, field: string): SpiffeId {
  try {
    return parseSpiffeId(text, field);
  } catch (cause) {
    const why = cause instanceof IdentityError ? cause.message.replace(`${field}: `, '') : 'it cannot be read';
    throw new IdentityError('invalid_argument', `"${text.slice(0, 200)}" is no SPIFFE ID: ${why}`, { field, cause });
  }
}

function checkTrustDomain(id: SpiffeId, { trustDomain }: IdentitySettings, field: string): void {
  if (id.isMemberOf(trustDomain)) return;
  throw new IdentityError('invalid_argument', `"${id.toString()}" is outside the trust domain ${trustDomain.name}`, { field });
}

interface RenderContext {
  readonly input: RenderInput;
  readonly settings: IdentitySettings;
}

function renderDnsNames(
  compiled: CompiledDeclaration,
  data: TemplateData,
  { input, settings }: RenderContext,
): readonly string[] {
  const { pod, services, budget } = input;
  const rendered = compiled.dnsNames.map((template, index) => {
    const name = template.render(data, budget);
    checkDnsName(name, `spec.dnsNameTemplates[${index}]`);
    return name;
  });
  const populated = compiled.declaration.autoPopulateDnsNames
    ? services.flatMap((service) => dnsNamesOfService(service, pod.namespace, settings.clusterDomain)).sort()
    : [];
  return [...new Set([...rendered, ...populated])];
}

function seconds(duration: { readonly ms: number } | undefined): number {
  return duration === undefined ? 0 : Math.floor(duration.ms / 1000);
}
