// What each enforcement point makes of the conformance table: which calls it is asked about, and which come to another answer there.
import { decide } from '../../../policy/decide.ts';
import { loadExpressions } from '../../../policy/expressions/load.ts';
import type { CallField } from '../../../policy/model.ts';
import { normalizeRequest } from '../../../policy/normalize/request.ts';
import type { Arrived } from '../echo-server.ts';
import { SCENARIOS } from './conformance-table.ts';
import type { Difference } from './difference.ts';
import { differenceOf, ENVOY_DIFFERENCES } from './envoy-differences.ts';
import { Differences, MIDDLEWARE_DIFFERENCES, NGINX_DIFFERENCES } from './http-differences.ts';
import { UNSEEN_CONDITIONS } from './rbac-agreement.ts';
import { RBAC_DIFFERENCES, rbacDifferenceOf } from './rbac-differences.ts';
import { callOf, policiesOf, type Row, type Scenario, snapshotOf, written } from './table-types.ts';

/** One enforcement point. */
export interface EnforcementPoint {
  readonly name: string;
  /** Why a call cannot be carried to it; undefined where it can. */
  readonly whyNot: (row: Row) => string | undefined;
  /** The answer there, as its suite expects it. */
  readonly answerTo: (scenario: Scenario, row: Row) => string;
  /** Those that its suite names one by one. */
  readonly differences: readonly Difference[];
  /** What it does not see, for the guide. */
  readonly unseen?: string;
}

/** How a point's answer to one call stands to the engine's. */
export type Standing = 'same' | 'refused by itself' | 'denied otherwise' | 'narrower' | 'wider' | 'not carried';

const SEES_ALL = 'because they are about points that see less';
const REQUESTS_ONLY = 'because they are connections';

const whyNotSeen = ([, , , { unseen } = {}]: Row): string | undefined => (unseen === undefined ? undefined : SEES_ALL);

const nginx = new Differences(NGINX_DIFFERENCES);
const middleware = new Differences(MIDDLEWARE_DIFFERENCES);

/** What Envoy's own filters never see. */
const UNSEEN_BY_RBAC: ReadonlySet<CallField> = new Set(['user']);

/** What the engine says where it cannot see users, conditions and relations, as far as Envoy tells: the rule only of requests that are denied. */
function answerOfRbac(scenario: Scenario, row: Row): string {
  const difference = rbacDifferenceOf(scenario.title, row);
  if (difference !== undefined) return difference;
  const decision = decide(snapshotOf(scenario, UNSEEN_CONDITIONS), { ...callOf(row), unseen: UNSEEN_BY_RBAC });
  if (decision.verdict === 'allow') return 'allow';
  return row[1] === 'connect' ? 'deny' : written(decision);
}

/** All of them. */
export const ENFORCEMENT_POINTS = {
  extAuthz: {
    name: 'Envoy, `ext_authz`',
    whyNot: whyNotSeen,
    answerTo: ({ title }, row) => differenceOf(title, row) ?? row[2],
    differences: ENVOY_DIFFERENCES,
  },
  rbac: {
    name: 'Envoy, native RBAC',
    whyNot: ([, , , { unseen = [] } = {}]) => (unseen.every((field) => UNSEEN_BY_RBAC.has(field)) ? undefined : SEES_ALL),
    answerTo: answerOfRbac,
    differences: RBAC_DIFFERENCES,
    unseen:
      'users, conditions and relations are not seen: such a rule lets nobody in, and denies everybody whom the rest of it is about',
  },
  nginx: {
    name: 'nginx, `auth_request`',
    whyNot: (row) => (row[1] === 'connect' ? REQUESTS_ONLY : whyNotSeen(row)),
    answerTo: ({ title }, row) => nginx.of(title, row) ?? row[2],
    differences: NGINX_DIFFERENCES,
  },
  middleware: {
    name: 'middleware',
    whyNot: whyNotSeen,
    answerTo: ({ title }, row) => middleware.of(title, row) ?? row[2],
    differences: MIDDLEWARE_DIFFERENCES,
  },
} as const satisfies Readonly<Record<string, EnforcementPoint>>;

/** How the point's answer to a call of the table stands to the engine's. */
export function standingOf(point: EnforcementPoint, scenario: Scenario, row: Row): Standing {
  if (point.whyNot(row) !== undefined) return 'not carried';
  const [, , expected] = row;
  const answer = point.answerTo(scenario, row);
  if (/^not (?:asked|judged)/.test(answer)) return expected.startsWith('allow') ? 'narrower' : 'refused by itself';
  // Of what it lets pass, and of connections, a point may not tell the rule.
  if (answer === expected || expected.startsWith(`${answer} `)) return 'same';
  if (answer.startsWith('allow')) return expected.startsWith('allow') ? 'same' : 'wider';
  return expected.startsWith('allow') ? 'narrower' : 'denied otherwise';
}

/** How many calls of the table stand how at a point. */
export function standingsOf(point: EnforcementPoint): ReadonlyMap<Standing, number> {
  const counts = new Map<Standing, number>();
  for (const scenario of SCENARIOS) {
    for (const row of scenario.rows) {
      const standing = standingOf(point, scenario, row);
      counts.set(standing, (counts.get(standing) ?? 0) + 1);
    }
  }
  return counts;
}

/** How many calls of the table are not carried to a point, by why. */
export function whyNotCarried(point: EnforcementPoint): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const row of SCENARIOS.flatMap(({ rows }) => rows)) {
    const reason = point.whyNot(row);
    if (reason !== undefined) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return counts;
}

/** How many calls of the table are carried to a point. */
export function carriedTo(point: EnforcementPoint): number {
  return SCENARIOS.flatMap(({ rows }) => rows).filter((row) => point.whyNot(row) === undefined).length;
}

/** What a suite has asked a point, and what the point let in though the engine does not. */
export class PointRun {
  /** Calls that the point was asked about. */
  asked = 0;
  /** Calls that it let in and the engine would not, neither as the table has them nor as they went on to the service. */
  readonly widened: Row[] = [];

  /** Notes an answer: whether the call was let in, and with what request the service then got. */
  async note(scenario: Scenario, row: Row, isAllowed: boolean, arrived?: Arrived): Promise<void> {
    this.asked += 1;
    if (!isAllowed || row[2].startsWith('allow')) return;
    if (arrived === undefined || !(await isAllowedAsArrived(scenario, row, arrived))) this.widened.push(row);
  }
}

/** Whether the engine allows a call whose request is the one that went on. */
async function isAllowedAsArrived(scenario: Scenario, row: Row, { method, target, headers: all }: Arrived): Promise<boolean> {
  const snapshot = snapshotOf(scenario, await loadExpressions(policiesOf(scenario)));
  const authority = all.find(([name]) => name === 'host')?.[1] ?? '';
  const headers = all.filter(([name]) => name !== 'host');
  const [caller, , expected, extras = {}] = row;
  const connection = callOf([caller, 'connect', expected, extras]);
  return decide(snapshot, { ...connection, ...normalizeRequest({ method, target, authority, headers }) }).verdict === 'allow';
}
