import type { Clock } from '../../core/clock.ts';
import type { Authorization, CheckRequest } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import type { EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import { whenAttested } from '../api/workload-call.ts';
import type { Authorizer, Check, Outcome } from '../authz/check.ts';
import type { DecidedCallObserver } from '../authz/decided-call.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { Answers } from './answers.ts';
import { askedBy } from './attributes.ts';
import { PeerCertificates } from './peer-certificate.ts';

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
  const answers = new Answers();
  const certificates = new PeerCertificates();
  const refuse = (check: Check, reason: string): Outcome => {
    const outcome: Outcome = { verdict: 'deny', status: 403, headers: NO_HEADERS, reason };
    onDecided?.({ check, outcome, atMs: clock.nowMs(), durationMs: 0 });
    return outcome;
  };
  const answer = (asking: SelectorSet, { attributes }: CheckRequest): EncodedMessage | Promise<EncodedMessage> => {
    const asked = askedBy(asking, attributes, certificates);
    const { check } = asked;
    const outcome = 'fault' in asked ? refuse(check, asked.fault) : authorizer.authorize(check);
    return outcome instanceof Promise ? outcome.then((each) => answers.of(check, each)) : answers.of(check, outcome);
  };
  return { check: (request, call) => whenAttested(call, (asking) => answer(asking, request)) };
}

const NO_HEADERS: ReadonlyMap<string, string> = new Map();
