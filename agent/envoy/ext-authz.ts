import { create, toBinary } from '@bufbuild/protobuf';
import type { Clock } from '../../core/clock.ts';
import {
  CheckResponseSchema,
  type Authorization,
  type CheckRequest,
} from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import { whenAttested } from '../api/workload-call.ts';
import type { Authorizer, Check, Outcome } from '../authz/check.ts';
import type { DecidedCallObserver } from '../authz/decided-call.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { allowing, denying, OWN_HEADERS } from './answer.ts';
import { askedBy } from './attributes.ts';

/** What {@link extAuthz} needs. */
export interface ExtAuthzOptions {
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  /** Told of calls that were denied because Envoy's own attributes make none that could be decided. */
  readonly onDecided?: DecidedCallObserver;
}

/**
 * Envoy's external authorization v3 (`envoy.filters.http.ext_authz` and `envoy.filters.network.ext_authz`): Envoy asks about each
 * request or connection of the workload that it was attested as.
 */
export function extAuthz({ authorizer, clock, onDecided }: ExtAuthzOptions): ServiceHandlers<typeof Authorization, Workload> {
  const refuse = (check: Check, reason: string): Outcome => {
    const outcome: Outcome = { verdict: 'deny', status: 403, headers: NO_HEADERS, reason };
    onDecided?.({ check, outcome, atMs: clock.nowMs(), durationMs: 0 });
    return outcome;
  };
  const answer = (asking: SelectorSet, { attributes }: CheckRequest): EncodedMessage | Promise<EncodedMessage> => {
    const asked = askedBy(asking, attributes);
    const { check } = asked;
    const outcome = 'fault' in asked ? refuse(check, asked.fault) : authorizer.authorize(check);
    return outcome instanceof Promise ? outcome.then((each) => encoded(check, each)) : encoded(check, outcome);
  };
  return { check: (request, call) => whenAttested(call, (asking) => answer(asking, request)) };
}

const NO_HEADERS: ReadonlyMap<string, string> = new Map();

function encoded({ sourceId, request }: Check, outcome: Outcome): EncodedMessage {
  const names = [...(request?.headers ?? [])].map(([name]) => name);
  const forged = names.filter((name) => name.startsWith(OWN_HEADERS));
  const response =
    outcome.verdict === 'allow' ? allowing(outcome, sourceId?.toString(), forged) : denying(outcome, { isGrpc: false });
  return new EncodedMessage(toBinary(CheckResponseSchema, create(CheckResponseSchema, response)));
}
