import { parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { ExchangeRule, Grant } from './config.ts';

/** What a workload asks a token for. */
export interface TokenPurpose {
  readonly workload: SpiffeId;
  readonly grant: Grant;
  readonly audience: string;
}

/** What a token may have. */
export interface Permission {
  /** Undefined: no limit but that of the subject token. */
  readonly scopes: readonly string[] | undefined;
}

/** Decides who may get tokens for whom. */
export interface ExchangePolicy {
  /** What tokens call a workload (`aud`), its SPIFFE ID first. */
  namesOf(workload: SpiffeId): readonly string[];
  /** The workloads that an audience names. Empty: an audience that is no workload of ours. */
  workloadsNamed(audience: string): readonly SpiffeId[];
  /** Undefined: no such token. */
  permits(purpose: TokenPurpose): Permission | undefined;
}

/** The policy of a list of rules. What several rules permit adds up; what none permits is refused. */
export function ruleBasedPolicy(rules: readonly ExchangeRule[]): ExchangePolicy {
  const rulesOf = (workload: SpiffeId): readonly ExchangeRule[] =>
    rules.filter(({ workloads }) => workloads.some((each) => each.equals(workload)));
  return {
    namesOf: (workload) => [workload.toString(), ...rulesOf(workload).flatMap(({ addressedAs }) => addressedAs)],
    workloadsNamed(audience) {
      const own = spiffeIdOf(audience);
      if (own !== undefined) return [own];
      return rules.filter(({ addressedAs }) => addressedAs.includes(audience)).flatMap(({ workloads }) => workloads);
    },
    permits({ workload, grant, audience }) {
      const fitting = rulesOf(workload).filter(({ grants, audiences }) => grants.includes(grant) && audiences.includes(audience));
      if (fitting.length === 0) return undefined;
      const isOpen = grant === 'exchange' && fitting.some(({ scopes }) => scopes === undefined);
      return { scopes: isOpen ? undefined : fitting.flatMap(({ scopes = [] }) => scopes) };
    },
  };
}

function spiffeIdOf(audience: string): SpiffeId | undefined {
  try {
    return parseSpiffeId(audience, 'audience');
  } catch {
    return undefined;
  }
}
