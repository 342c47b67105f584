import { RESOURCE_KINDS, type ResourceKind } from '../../crds/index.ts';
import { isRecord } from '../../runtime/kubernetes/errors.ts';
import { isOurClass } from '../identity/settings.ts';
import { faultsOf, type Findings } from './findings.ts';
import { ratchet } from './ratchet.ts';
import { reviewFederation } from './review-federation.ts';
import { reviewIdentity } from './review-identity.ts';
import { reviewStatic } from './review-static.ts';
import type { ReviewContext } from './review-context.ts';
import { ACCEPTED, type Reviewer } from './review.ts';

/**
 * Who judges objects of each kind before they are stored, by the same parsers and rules that reconcile them. Nothing rests on it:
 * what is stored while no webhook could be asked is refused by the reconcilers as well, in the object's status.
 */
export function createReviewers(context: ReviewContext): Readonly<Record<string, Reviewer>> {
  return Object.fromEntries(RESOURCE_KINDS.map((kind) => [kind.type.kind, reviewerOf(kind, context)]));
}

function reviewerOf(kind: ResourceKind, context: ReviewContext): Reviewer {
  return async ({ operation, object, oldObject }, signal) => {
    // Another controller's object: it decides what is right, and may know fields that we do not.
    if (!isOurClass(classOf(object), context.settings)) return ACCEPTED;
    const after = await findingsOf(kind, object, { context, signal });
    if (operation !== 'UPDATE' || after.faults.length === 0) return after;
    return ratchet(after, await findingsOf(kind, oldObject, { context, signal }), { object, oldObject });
  };
}

interface Reviewing {
  readonly context: ReviewContext;
  readonly signal: AbortSignal;
}

async function findingsOf(kind: ResourceKind, object: unknown, { context, signal }: Reviewing): Promise<Findings> {
  await context.turns.next();
  try {
    if (kind.declares === 'identities') return await reviewIdentity(kind.parse(object), context, signal);
    if (kind.declares === 'entry') return reviewStatic(kind.parse(object), context);
    return reviewFederation(kind.parse(object), context);
  } catch (error) {
    return { faults: faultsOf(error), warnings: [] };
  }
}

/** The class before anything is parsed; one that is no text is looked at by the parser. */
function classOf(object: unknown): string | undefined {
  const spec = isRecord(object) ? object['spec'] : undefined;
  const className = isRecord(spec) ? spec['className'] : undefined;
  return typeof className === 'string' ? className : undefined;
}
