import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { OWNER_LABEL, ownerOfDocument } from '../../policy/document-owner.ts';
import { Turns } from '../calls/turns.ts';
import type { PolicyResource } from '../model.ts';
import type { Mutation, PolicyKey } from '../store/store.ts';

/** Who puts or takes away policy resources. */
export interface PolicyCaller {
  /** The label that its documents carry; undefined for one who may touch every document. */
  readonly owner: string | undefined;
  readonly clock: Clock;
}

/**
 * Whether a document says that it is the caller's own: one that a controller put there under another name, it could neither find again
 * nor take away.
 *
 * @throws IdentityError `permission_denied`
 */
export function requireOwnLabel(policy: PolicyResource, { owner }: PolicyCaller): void {
  if (owner === undefined) return;
  const said = ownerOfDocument(policy.document);
  if (said === owner) return;
  const found = said === undefined ? 'has none' : `has ${JSON.stringify(said)}`;
  throw new IdentityError(
    'permission_denied',
    `what this controller puts here must have the label ${OWNER_LABEL}: ${owner}, and ${nameText(policy)} ${found}; entryIdPrefix of its login in adminLogin says so, and that of the controller must be the same`,
  );
}

/**
 * Whether what is there under these names, if anything, is the caller's own to replace or take away.
 *
 * @throws IdentityError `failed_precondition` that names the first that is not, and whose it is
 */
export async function requireOwnPresent(tx: Mutation, keys: readonly PolicyKey[], { owner, clock }: PolicyCaller): Promise<void> {
  if (owner === undefined) return;
  const turns = new Turns(clock);
  for (const present of await tx.getPolicies(keys)) {
    if (turns.isOver) await turns.next();
    if (present === undefined) continue;
    const said = ownerOfDocument(present.document);
    if (said === owner) continue;
    const whose = said === undefined ? 'of no controller' : `of the controller ${JSON.stringify(said)}`;
    throw new IdentityError(
      'failed_precondition',
      `the CA has ${nameText(present)}, which is ${whose} and not of ${JSON.stringify(owner)} (label ${OWNER_LABEL}); whose it is, or an admin, has to take it away first`,
    );
  }
}

function nameText({ kind, namespace, name }: PolicyKey): string {
  return namespace === '' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
}
