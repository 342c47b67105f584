import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import { decide } from '../../policy/decide.ts';
import type { Call, CallField, Decision } from '../../policy/model.ts';
import type { AccessLogService, StreamAccessLogsMessage } from '../../proto/gen/envoy/service/accesslog/v3/als_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import { whenAttested } from '../api/workload-call.ts';
import { createCall } from '../authz/call.ts';
import type { Check, Outcome } from '../authz/check.ts';
import type { DecidedCallObserver } from '../authz/decided-call.ts';
import type { Destinations } from '../authz/destinations.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { readHttpEntry, readTcpEntry, type SeenCall } from './access-log-entry.ts';
import type { PolicyInForce } from './proxy-policy.ts';
import type { DeniedBy } from './rule-name.ts';

/** What {@link accessLog} needs. */
export interface AccessLogOptions {
  readonly inForce: Pick<PolicyInForce, 'policy' | 'destinations'>;
  readonly clock: Clock;
  /** Told of each call that Envoy has decided by itself. */
  readonly onDecided: DecidedCallObserver;
}

/** Entries that are taken in before others get their turn: a message may hold thousands. */
const ENTRIES_IN_A_TURN = 128;
/** What access logs do not say: a header that is not logged, a token that nobody has verified. */
const UNSEEN: ReadonlySet<CallField> = new Set(['request.headers', 'user']);
const NO_HEADERS: ReadonlyMap<string, string> = new Map();

/**
 * Envoy's access log service v3: what Envoy decides alone, by filters of its own or in the handshake, is recorded as what the agent
 * decides. Entries are about the workload that Envoy was attested as, whatever they say; those that say nothing are passed over.
 */
export function accessLog(options: AccessLogOptions): ServiceHandlers<typeof AccessLogService, Workload> {
  return {
    streamAccessLogs: async (messages, call) => {
      const asking = await whenAttested(call, (selectors) => selectors);
      let entries = 0;
      for await (const message of messages) {
        for (const seen of seenIn(message)) {
          if (seen !== undefined) record(seen, asking, options);
          if (++entries % ENTRIES_IN_A_TURN === 0) await nextTurn();
        }
      }
      return {};
    },
  };
}

function* seenIn({ logEntries }: StreamAccessLogsMessage): Generator<SeenCall | undefined> {
  if (logEntries.case === 'httpLogs') for (const entry of logEntries.value.logEntry) yield readHttpEntry(entry);
  else if (logEntries.case === 'tcpLogs') for (const entry of logEntries.value.logEntry) yield readTcpEntry(entry);
}

function record(seen: SeenCall, asking: SelectorSet, { inForce, clock, onDecided }: AccessLogOptions): void {
  const { sourceId, sourceAddress, destinationId, port, request } = seen;
  const check: Check = { point: 'access_log', asking, sourceId, sourceAddress, destinationId, port, request };
  const atMs = clock.nowMs();
  const enforcement = inForce.policy.value;
  const destination = destinationOf(seen, asking, inForce.destinations);
  if (enforcement === undefined || typeof destination === 'string') {
    const reason = typeof destination === 'string' ? destination : seen.reason;
    return onDecided({ check, outcome: { ...outcomeOf(seen), reason }, atMs, durationMs: 0 });
  }
  const call = createCall(check, { destination, enforcement, atMs });
  const decision = decisionOf(seen, decide(enforcement.snapshot, { ...call, unseen: unseenOf(call) }));
  const outcome = { ...outcomeOf(seen), destinationId: destination.spiffeId, ...(decision && { decision }) };
  onDecided({ check, call, outcome, atMs, durationMs: 0 });
}

/** The identity that is named, or the only one, or of several the one whose certificate was shown. */
function destinationOf({ destinationId, shownId, port }: SeenCall, asking: SelectorSet, destinations: Destinations) {
  const found = destinations.of(asking, destinationId, port);
  return found === 'ambiguous_identity' && shownId !== undefined ? destinations.of(asking, shownId, port) : found;
}

function unseenOf({ unseen }: Call): ReadonlySet<CallField> {
  return unseen === undefined ? UNSEEN : new Set([...unseen, ...UNSEEN]);
}

function outcomeOf({ verdict, reason, by }: SeenCall): Outcome {
  const code = by === undefined ? reason : 'reason' in by ? by.reason : 'denied_by_rule';
  return { verdict, status: verdict === 'allow' ? 200 : 403, headers: NO_HEADERS, reason: code };
}

/**
 * What decided, as far as it can be told: what denied, Envoy names; which rule let a call in, the engine says where it comes to the
 * same answer; what would be denied, Envoy's own dry run says.
 */
function decisionOf({ verdict, reason, by, dryRun }: SeenCall, engine: Decision): Decision | undefined {
  if (by !== undefined && 'rule' in by) return { verdict, reason: 'denied_by_rule', ...by.rule, audits: [] };
  if (reason === 'handshake_refused' || engine.verdict !== verdict) return undefined;
  const { policy, rule, audits } = engine;
  return {
    verdict,
    reason: engine.reason,
    audits,
    ...(policy === undefined || rule === undefined ? {} : { policy, rule }),
    ...(dryRun === undefined ? {} : { dryRun: dryRunOf(dryRun) }),
  };
}

function dryRunOf(by: DeniedBy | 'allow'): Decision {
  if (by === 'allow') return { verdict: 'allow', reason: 'allowed_by_rule', audits: [] };
  if ('rule' in by) return { verdict: 'deny', reason: 'denied_by_rule', ...by.rule, audits: [] };
  return { verdict: 'deny', reason: 'no_rule_matches', audits: [] };
}
