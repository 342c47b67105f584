import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { IdentityError } from '../../core/errors.ts';
import type { PolicyName, RuleReference } from '../../policy/model.ts';
import { isWrittenByRecorder } from '../../policy/path-inference.ts';
import { policyKey } from '../../policy/policy.ts';
import type {
  Call,
  CallSchema,
  Destination,
  Request,
  RuleReference as WireRule,
} from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { CalledWorkload, CallKind, CountedKind, RecordedRequest } from './call-kind.ts';

/** Equal calls as a report has them. */
export interface ReportedCalls {
  readonly kind: CallKind;
  readonly count: number;
  /** Milliseconds since 1970, as the agent's clock says. */
  readonly lastSeenAtMs: number;
}

const MAX_COUNT = 1_000_000_000_000n;
const MAX_NAME = 253;
const MAX_SELECTORS = 64;
const MAX_SELECTOR = 512;
const MAX_TEXT = 512;
const MAX_RULE = 1_000_000;
const MAX_AUDITS = 16;
const WORD = /^[a-z0-9_]{0,64}$/;
const NAME = /^[A-Za-z0-9.-]{0,253}$/;

/**
 * Reads equal calls of a report. What callers of a workload can vary at will never spoils a report: where it cannot be kept it counts
 * as not recorded.
 *
 * @throws IdentityError `invalid_argument` that names the field below `field`
 */
export function callFromProto(call: Call, field: string): ReportedCalls {
  const { verdict, count, lastSeen, wouldDeny, request } = call;
  if (verdict !== 'allow' && verdict !== 'deny') throw invalid('must be allow or deny', `${field}.verdict`);
  if (count < 1n || count > MAX_COUNT) throw invalid(`must be between 1 and ${MAX_COUNT}`, `${field}.count`);
  if (lastSeen === undefined) throw invalid('missing', `${field}.last_seen`);
  const rule = ruleFromProto(call.rule, `${field}.rule`);
  const dryRunRule = ruleFromProto(call.dryRunRule, `${field}.dry_run_rule`);
  const kind: CallKind = {
    source: call.sourceSpiffeId === '' ? '' : parseSpiffeId(call.sourceSpiffeId, `${field}.source_spiffe_id`).toString(),
    destination: destinationFromProto(call.destination, `${field}.destination`),
    ...(request === undefined ? {} : { request: requestFromProto(request) }),
    verdict,
    reason: matching(WORD, call.reason, `${field}.reason`),
    ...(rule === undefined ? {} : { rule }),
    ...(dryRunRule === undefined ? {} : { dryRunRule }),
    wouldDeny,
    ...auditRulesFromProto(call.auditRules, `${field}.audit_rules`),
    point: matching(WORD, call.point, `${field}.point`),
  };
  return { kind, count: Number(count), lastSeenAtMs: timestampMs(lastSeen) };
}

function destinationFromProto(destination: Destination | undefined, field: string): CalledWorkload {
  if (destination === undefined) throw invalid('missing', field);
  const { port, selectors } = destination;
  if (port > 65_535) throw invalid('must be a port', `${field}.port`);
  if (selectors.length > MAX_SELECTORS) throw invalid(`must have at most ${MAX_SELECTORS} items`, `${field}.selectors`);
  const long = selectors.findIndex((text) => text.length > MAX_SELECTOR || text === '');
  if (long !== -1) throw invalid(`must have 1 to ${MAX_SELECTOR} characters`, `${field}.selectors[${long}]`);
  return {
    spiffeId: parseSpiffeId(destination.spiffeId, `${field}.spiffe_id`).toString(),
    namespace: matching(NAME, destination.namespace, `${field}.namespace`),
    serviceAccount: matching(NAME, destination.serviceAccount, `${field}.service_account`),
    port,
    selectors: [...new Set(selectors)].sort(),
  };
}

function requestFromProto({ method, host, pathTemplate, grpcService, grpcMethod }: Request): RecordedRequest {
  const path = kept(pathTemplate);
  // Other braces than those that agents write are somebody's who called, and would be taken for variables.
  const isPath = path === '*' || (path.startsWith('/') && isWrittenByRecorder(path));
  return {
    method: kept(method),
    host: kept(host),
    path: isPath ? path : '',
    grpcService: kept(grpcService),
    grpcMethod: kept(grpcMethod),
  };
}

const hasControl = (text: string): boolean => /\p{Cc}/u.test(text);
const kept = (text: string): string => (text.length > MAX_TEXT || hasControl(text) ? '' : text);

function ruleFromProto(reference: WireRule | undefined, field: string): RuleReference | undefined {
  if (reference === undefined) return undefined;
  const { policy, rule } = reference;
  if (policy === undefined) throw invalid('missing', `${field}.policy`);
  if (rule > MAX_RULE) throw invalid('is no place in a list of rules', `${field}.rule`);
  return { policy: policyNameFromProto(policy, `${field}.policy`), rule };
}

/** In order and one of each policy, so that equal kinds are equal and no call counts twice. */
function auditRulesFromProto(rules: readonly WireRule[], field: string): Pick<CallKind, 'auditRules'> {
  if (rules.length === 0) return {};
  if (rules.length > MAX_AUDITS) throw invalid(`must have at most ${MAX_AUDITS} items`, field);
  const byPolicy = new Map<string, RuleReference>();
  for (const [index, each] of rules.entries()) {
    const rule = ruleFromProto(each, `${field}[${index}]`);
    const key = rule && policyKey(rule.policy);
    if (rule !== undefined && key !== undefined && !byPolicy.has(key)) byPolicy.set(key, rule);
  }
  return { auditRules: [...byPolicy.keys()].sort().flatMap((key) => byPolicy.get(key) ?? []) };
}

/** Reads the name of a policy. @throws IdentityError `invalid_argument` that names the field */
export function policyNameFromProto(name: { kind: string; namespace: string; name: string }, field: string): PolicyName {
  const { kind } = name;
  if (kind !== 'AuthorizationPolicy' && kind !== 'ClusterAuthorizationPolicy') {
    throw invalid('must be AuthorizationPolicy or ClusterAuthorizationPolicy', `${field}.kind`);
  }
  if (name.name === '' || name.name.length > MAX_NAME) throw invalid(`must have 1 to ${MAX_NAME} characters`, `${field}.name`);
  if ((kind === 'AuthorizationPolicy') !== (name.namespace !== '')) {
    const which = kind === 'AuthorizationPolicy' ? 'must be there' : 'must be empty';
    throw invalid(`${which} for a policy of kind ${kind}`, `${field}.namespace`);
  }
  return {
    kind,
    namespace: matching(NAME, name.namespace, `${field}.namespace`),
    name: matching(NAME, name.name, `${field}.name`),
  };
}

function matching(pattern: RegExp, text: string, field: string): string {
  if (pattern.test(text)) return text;
  throw invalid('has characters that it cannot have, or too many', field);
}

function invalid(message: string, field: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field });
}

/** A counted kind as a message. */
export function callToProto({ kind, source, count, lastSeenAtMs }: CountedKind): MessageInitShape<typeof CallSchema> {
  const { destination, request, rule, dryRunRule, auditRules = [] } = kind;
  return {
    sourceSpiffeId: kind.source,
    sourceNamespace: source.namespace ?? '',
    sourceServiceAccount: source.serviceAccount ?? '',
    destination: { ...destination, selectors: [...destination.selectors] },
    ...(request === undefined ? {} : { request: requestToProto(request) }),
    verdict: kind.verdict,
    reason: kind.reason,
    ...(rule === undefined ? {} : { rule }),
    ...(dryRunRule === undefined ? {} : { dryRunRule }),
    wouldDeny: kind.wouldDeny,
    auditRules: [...auditRules],
    point: kind.point,
    count: BigInt(count),
    lastSeen: timestampFromMs(lastSeenAtMs),
  };
}

function requestToProto({ path, ...request }: RecordedRequest): MessageInitShape<typeof CallSchema>['request'] & object {
  return { ...request, pathTemplate: path };
}
