import { policyKey } from '../../policy/policy.ts';
import type { Decision } from '../../policy/model.ts';
import type { RawRequest } from '../../policy/normalize/request.ts';
import { CheckResponseSchema } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { type EncodedMessage, encodeMessage } from '../../runtime/grpc/encoded-message.ts';
import type { Check, Outcome } from '../authz/check.ts';
import { allowing, denying, OWN_HEADERS } from './answer.ts';

const MAX_KEPT = 1_000;

/** Answers to Envoy, encoded. Equal ones are encoded once: most calls of a workload are of few callers and rules. */
export class Answers {
  #kept = new Map<string, EncodedMessage>();

  /** The answer to a check that came out so. */
  of({ sourceId, request }: Check, outcome: Outcome): EncodedMessage {
    const { forged, isGrpc } = request === undefined ? NO_REQUEST : lookAt(request);
    const source = sourceId?.toString();
    if (forged.length > 0 || outcome.headers.size > 0 || outcome.user !== undefined)
      return encoded(outcome, { source, forged, isGrpc });
    const key = keyOf(outcome, source, isGrpc);
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept;
    const made = encoded(outcome, { source, forged, isGrpc });
    if (this.#kept.size >= MAX_KEPT) this.#kept = new Map();
    this.#kept.set(key, made);
    return made;
  }
}

interface Answering {
  readonly source: string | undefined;
  readonly forged: readonly string[];
  readonly isGrpc: boolean;
}

function encoded(outcome: Outcome, { source, forged, isGrpc }: Answering): EncodedMessage {
  const isAllowed = outcome.verdict === 'allow';
  return encodeMessage(CheckResponseSchema, isAllowed ? allowing(outcome, source, forged) : denying(outcome, { isGrpc }));
}

/** Everything that an answer without headers of its own is made of. */
function keyOf({ verdict, status, reason, decision, destinationId }: Outcome, source = '', isGrpc: boolean): string {
  const place = destinationId?.toString() ?? '';
  const rules =
    decision === undefined ? '' : `${ruleOf(decision)} ${decision.dryRun === undefined ? '' : ruleOf(decision.dryRun)}`;
  return `${verdict} ${status} ${reason} ${isGrpc} ${source} ${place} ${rules}`;
}

function ruleOf({ verdict, reason, policy, rule }: Decision): string {
  return `${verdict} ${reason} ${policy === undefined ? '' : policyKey(policy)} ${rule}`;
}

const NO_REQUEST = { forged: [], isGrpc: false } as const;

function lookAt({ headers }: RawRequest): { readonly forged: readonly string[]; readonly isGrpc: boolean } {
  const forged: string[] = [];
  let isGrpc = false;
  for (const [name, value] of headers) {
    if (isOwn(name)) forged.push(name);
    else if (name === 'content-type') isGrpc ||= value.startsWith('application/grpc');
  }
  return { forged, isGrpc };
}

/** Services that are handed headers as variables (RFC 3875 §4.1.18) take `x_countersign_user` for `x-countersign-user`. */
function isOwn(name: string): boolean {
  return name.startsWith('x') && name.replaceAll(/[^a-z0-9]/g, '-').startsWith(OWN_HEADERS);
}
