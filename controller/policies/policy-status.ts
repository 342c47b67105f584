import type { IdentityError } from '../../core/errors.ts';
import type { DeclaredObject } from '../declared-objects.ts';
import type { JsonObject, Problem } from '../ports.ts';
import { condition, conditionsOf, type Verdict } from '../status/condition.ts';
import type { Assessment, PolicyAssessor } from './policy-assessment.ts';
import type { PolicyIndex } from './policy-index.ts';
import type { PolicyOverlaps } from './policy-overlaps.ts';
import type { PolicyReconciler } from './policy-reconciler.ts';
import type { PolicyStandings, Standing } from './policy-standings.ts';

/** What a status is made from. */
export interface PolicyStatusInputs {
  readonly index: Pick<PolicyIndex, 'object'>;
  readonly assessor: Pick<PolicyAssessor, 'assess'>;
  readonly overlaps: Pick<PolicyOverlaps, 'shadowedBy' | 'conflictsWith'>;
  readonly policies: Pick<PolicyReconciler, 'revisionOf' | 'failureOf'>;
  readonly standings: Pick<PolicyStandings, 'get'>;
  /** Why the CA does not take changes, when that is worth telling. */
  readonly outage: (key: string) => IdentityError | undefined;
  /** Whether it is known how everything stands. */
  readonly isKnown: () => boolean;
  /** RFC 3339. */
  readonly now: () => string;
}

/** How many problems and remarks a message names. */
const NAMED = 5;

/** The status of an object as it is now; undefined while there is nothing to say yet. */
export function policyStatusOf(object: DeclaredObject, inputs: PolicyStatusInputs): JsonObject | undefined {
  const read = inputs.index.object(object.key);
  const assessment = read?.policy === undefined ? NOTHING : inputs.assessor.assess(read.policy);
  if (assessment === undefined) return undefined;
  if (!inputs.isKnown() && inputs.outage(object.key) === undefined) return undefined;
  const accepted = acceptedOf(object, assessment, inputs.policies.failureOf(object.key));
  const programmed = programmedOf(object, inputs);
  const ready = accepted.status === 'True' ? programmed : accepted;
  const conditions = { Accepted: accepted, Programmed: programmed, Ready: ready };
  return {
    observedGeneration: object.generation,
    conditions: Object.entries(conditions).map(([type, verdict]) => condition(object, type, verdict, inputs)),
    ...(object.ref.kind === 'RequestAuthentication' ? {} : figuresOf(object.key, inputs)),
  };
}

const NOTHING: Assessment = { problems: [], remarks: [] };

function figuresOf(key: string, { standings, overlaps }: PolicyStatusInputs): JsonObject {
  const { nodesConcerned = 0, nodesProgrammed = 0, hits = 0, wouldDenyHits = 0 } = standings.get(key) ?? {};
  const others = { shadowedBy: overlaps.shadowedBy(key), conflictsWith: overlaps.conflictsWith(key) };
  return { nodesConcerned, nodesProgrammed, ...others, hits, wouldDenyHits };
}

function acceptedOf({ fault }: DeclaredObject, { problems, remarks }: Assessment, failure: Problem | undefined): Verdict {
  if (fault !== undefined) {
    const message = `${fault.message}; what the CA has under this name, if anything, stays in force`;
    return { status: 'False', reason: fault.reason, message };
  }
  if (failure !== undefined) return { status: 'False', reason: failure.reason, message: failure.message };
  if (problems.length > 0) {
    const texts = problems.map(({ path, message }) => `${path}: ${message}`);
    const what = 'in force all the same, where what cannot be judged never allows and always denies';
    return { status: 'False', reason: 'DoesNotCompile', message: `${some(texts)}; ${what}` };
  }
  const more = remarks.length === 0 ? '' : `; ${some(remarks)}`;
  return { status: 'True', reason: 'Valid', message: `the specification is in order${more}` };
}

function some(texts: readonly string[]): string {
  const more = texts.length > NAMED ? `; and ${texts.length - NAMED} more` : '';
  return `${texts.slice(0, NAMED).join('; ')}${more}`;
}

function programmedOf({ key, generation, fault }: DeclaredObject, inputs: PolicyStatusInputs): Verdict {
  const { policies, standings } = inputs;
  if (fault !== undefined) return { status: 'False', reason: fault.reason, message: 'the nodes are not told of this generation' };
  const failure = policies.failureOf(key);
  if (failure !== undefined) return { status: 'False', reason: failure.reason, message: failure.message };
  const outage = inputs.outage(key);
  if (outage !== undefined) {
    const message = `the CA does not take changes at the moment: ${outage.message}`;
    return { status: 'Unknown', reason: 'CaUnavailable', message };
  }
  const revision = policies.revisionOf(key);
  const standing = standings.get(key);
  if (revision === undefined) return { status: 'Unknown', reason: 'Reconciling', message: 'the CA is being told' };
  if (standing === undefined || standing.revision < revision || standing.generation !== generation) {
    return { status: 'Unknown', reason: 'Reconciling', message: 'the CA has it, and tells the nodes' };
  }
  return standingVerdict(standing);
}

function standingVerdict({ nodesConcerned: all, nodesProgrammed: some_, nodesRefused, refusal }: Standing): Verdict {
  if (all === 0) return { status: 'True', reason: 'NoNodes', message: 'no node has a workload that it concerns' };
  const nodes = all === 1 ? 'node' : 'nodes';
  const message = `${some_} of ${all} ${nodes} enforce it`;
  if (nodesRefused > 0) {
    const why = refusal === undefined ? '' : ` (${refusal.agentId}: ${refusal.reason})`;
    const closed = 'what it may concern is denied there';
    return { status: 'False', reason: 'Refused', message: `${message}; ${nodesRefused} could not read it${why}, and ${closed}` };
  }
  return some_ < all ? { status: 'False', reason: 'Programming', message } : { status: 'True', reason: 'Programmed', message };
}

/** Whether a status says more than figures that the one before did not say. */
export function isNews(before: unknown, after: JsonObject): boolean {
  return digest(before) !== digest(after);
}

function digest(status: unknown): string {
  const truths = conditionsOf(status).map((each) => [each['type'], each['status'], each['reason'], each['observedGeneration']]);
  const { shadowedBy = [], conflictsWith = [] } = fieldsOf(status);
  return JSON.stringify([truths, shadowedBy, conflictsWith]);
}

function fieldsOf(status: unknown): JsonObject {
  return typeof status === 'object' && status !== null ? { ...status } : {};
}
