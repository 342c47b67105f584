import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import { checkDeclaration } from '../identity/declaration-rules.ts';
import { isWarning } from '../identity/preview.ts';
import type { DryRun, Problem } from '../ports.ts';
import { faultOf, faultsIn, type Findings } from './findings.ts';
import type { ReviewFault } from './review.ts';
import { federationWarnings, NOT_SYNCED, type ReviewContext } from './review-context.ts';
import { templateFaults } from './template-faults.ts';

/**
 * What is wrong with a declaration that selects pods: what can be said of it alone, all at once, and if that is nothing, what
 * rendering it for the pods that it would select comes to.
 */
export async function reviewIdentity(
  declaration: IdentityDeclaration,
  context: ReviewContext,
  signal: AbortSignal,
): Promise<Findings> {
  const { settings, preview } = context;
  const faults = [
    ...faultsIn(() => checkDeclaration(declaration, settings)),
    ...templateFaults(declaration),
    ...literalFaults(declaration, context),
  ];
  const warnings = federationWarnings(declaration.federatesWith, context);
  if (faults.length > 0) return { faults, warnings };
  if (!context.synced()) return { faults, warnings: [...warnings, NOT_SYNCED] };
  const run = await preview.dryRun(declaration, signal);
  const told = run.problems.filter(({ reason }) => isWarning(reason));
  return {
    faults: run.problems.filter(({ reason }) => !isWarning(reason)).map(problemFault),
    warnings: [
      ...warnings,
      ...told.map(({ pod, message }) => `${pod === undefined ? '' : `pod ${pod}: `}${message}`),
      ...selectionWarnings(declaration, run, context),
    ],
  };
}

/** What the words before the first action say already, whatever pods there are. */
function literalFaults(
  { spiffeIdTemplate, pathTemplate }: IdentityDeclaration,
  { settings }: ReviewContext,
): readonly ReviewFault[] {
  if (pathTemplate !== undefined) return [];
  const field = 'spec.spiffeIDTemplate';
  const { name } = settings.trustDomain;
  const [, authority, path = ''] = /^spiffe:\/\/([^/{}]+)(\/[^{}]*)?/.exec(spiffeIdTemplate) ?? [];
  if (authority === undefined) return [];
  if (authority !== name) {
    return [{ field, message: `"${authority}" is outside the trust domain ${name}; begin with spiffe://{{ .TrustDomain }}/` }];
  }
  if (!/^\/spire(\/|$)/.test(path)) return [];
  return [{ field, message: 'lies below /spire, which is reserved for the CA and its agents' }];
}

function selectionWarnings(
  declaration: IdentityDeclaration,
  { problems, podsSelected, podsPassedOver }: DryRun,
  { settings }: ReviewContext,
): readonly string[] {
  if (podsPassedOver > 0) {
    return [
      `only ${podsSelected - podsPassedOver} of the ${podsSelected} pods that it selects were looked at; its status will say`,
    ];
  }
  if (podsSelected > 0 || problems.length > 0) return [];
  const where = declaration.kind === 'WorkloadIdentity' ? ` in namespace ${declaration.meta.namespace}` : '';
  const ignored = settings.ignoreNamespaces.length > 0 ? ' (namespaces in ignoreNamespaces are left alone)' : '';
  return [`selects no pod${where} at present${ignored}`];
}

function problemFault({ message, pod }: Problem): ReviewFault {
  const { field, message: what } = faultOf(message);
  return { field, message: pod === undefined ? what : `pod ${pod}: ${what}` };
}
