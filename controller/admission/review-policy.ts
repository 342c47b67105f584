import { isIdentityError } from '../../core/errors.ts';
import type { SimulateResponse } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { Policy } from '../../policy/policy.ts';
import type { PolicyAssessor } from '../policies/policy-assessment.ts';
import type { ProposedChange } from '../policies/policy-client.ts';
import type { PolicyIndex } from '../policies/policy-index.ts';
import { readPolicyObject, type PolicyObject } from '../policies/policy-object.ts';
import type { PolicyOverlaps } from '../policies/policy-overlaps.ts';
import { annotationFaults, annotationRemarks, mayRefuse, REFUSE_FIELD, TOKENS_UNKNOWN } from '../policies/refuse-annotation.ts';
import type { Turns } from '../turns.ts';
import { consequencesIn } from './consequences.ts';
import { faultsOf, type Findings } from './findings.ts';
import { ratchet } from './ratchet.ts';
import { ACCEPTED, type Review, type Reviewer } from './review.ts';

/** What reviewers of policies know and whom they ask. */
export interface PolicyReviewContext {
  readonly index: Pick<PolicyIndex, 'proposed'>;
  readonly assessor: PolicyAssessor;
  readonly overlaps: Pick<PolicyOverlaps, 'wouldMeet'>;
  /** Asks the CA what would become of recorded calls. */
  readonly simulate: (change: ProposedChange, signal: AbortSignal) => Promise<SimulateResponse>;
  /** Reading a large policy takes some milliseconds: one in each turn. */
  readonly turns: Pick<Turns, 'next'>;
}

const KINDS = ['AuthorizationPolicy', 'ClusterAuthorizationPolicy', 'RequestAuthentication'] as const;

/**
 * Who judges objects of authorization before they are stored, and policies before they are deleted: they must be readable and must
 * compile, and whoever writes them is told which recorded calls would newly be denied.
 */
export function createPolicyReviewers(context: PolicyReviewContext): Readonly<Record<string, Reviewer>> {
  return Object.fromEntries(KINDS.map((kind) => [kind, policyReviewer(kind, context)]));
}

function policyReviewer(kind: string, context: PolicyReviewContext): Reviewer {
  return async ({ operation, object, oldObject }, signal) => {
    if (operation === 'DELETE') return await reviewDeletion(asKind(oldObject, kind), context, signal);
    const after = await readFindings(asKind(object, kind), context);
    const { faults, warnings } =
      operation === 'UPDATE' && after.faults.length > 0
        ? ratchet(after, await readFindings(asKind(oldObject, kind), context), { object, oldObject })
        : after;
    if (faults.length > 0 || after.read === undefined) return { faults, warnings };
    const consequences = await reviewConsequences(after.read, context, signal);
    return { ...consequences, warnings: [...consequences.warnings, ...warnings] };
  };
}

/** The kind is that of the path: what asks may leave it out. */
function asKind(object: unknown, kind: string): { readonly kind: string } {
  return { ...(typeof object === 'object' ? object : {}), kind };
}

interface ReadFindings extends Findings {
  readonly read?: PolicyObject;
}

async function readFindings(object: { readonly kind: string }, context: PolicyReviewContext): Promise<ReadFindings> {
  await context.turns.next();
  try {
    const read = readPolicyObject(object);
    const annotated = annotationFaults(read.meta).map(({ path, message }) => ({ field: path, message }));
    const told = annotationRemarks(read.meta);
    if (read.policy === undefined) return { faults: annotated, warnings: told, read };
    await context.assessor.prepare(read.policy);
    const { problems = [], remarks = [] } = context.assessor.assess(read.policy) ?? {};
    const faults = [...annotated, ...problems.map(({ path, message }) => ({ field: path, message }))];
    const warnings = [
      ...told,
      ...remarks.filter((remark) => remark.includes('never matches')),
      ...meetings(read.policy, context),
    ];
    return { faults, warnings, read };
  } catch (error) {
    return { faults: faultsOf(error), warnings: [] };
  }
}

function meetings(policy: Policy, { overlaps }: PolicyReviewContext): readonly string[] {
  const { shadowedBy, conflictsWith } = overlaps.wouldMeet(policy);
  const denies = policy.action === 'DENY' ? 'it denies what they allow' : 'they deny what it allows';
  return [
    ...(conflictsWith.length === 0 ? [] : [`says the opposite of the same calls as ${few(conflictsWith)}: ${denies}`]),
    ...(shadowedBy.length === 0 ? [] : [`never decides anything: ${few(shadowedBy)} decides first`]),
  ];
}

function few(names: readonly string[]): string {
  return names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
}

async function reviewConsequences(read: PolicyObject, context: PolicyReviewContext, signal: AbortSignal): Promise<Review> {
  if (read.policy === undefined) return tokensUnknown(read);
  const set = [{ name: read.name, document: context.index.proposed(read) }];
  const isDry = read.policy.mode === 'DryRun';
  const change = { set, deleted: [], countsDryRun: isDry };
  return await judgeChange(read, change, { context, signal, isDeletion: false });
}

async function reviewDeletion(
  object: { readonly kind: string },
  context: PolicyReviewContext,
  signal: AbortSignal,
): Promise<Review> {
  try {
    const read = readPolicyObject(object);
    if (read.policy === undefined) return ACCEPTED;
    const change = { set: [], deleted: [read.name], countsDryRun: false };
    return await judgeChange(read, change, { context, signal, isDeletion: true });
  } catch (error) {
    // What cannot be read is to be got rid of.
    if (isIdentityError(error)) return ACCEPTED;
    throw error;
  }
}

interface Judging {
  readonly context: PolicyReviewContext;
  readonly signal: AbortSignal;
  readonly isDeletion: boolean;
}

async function judgeChange(
  read: PolicyObject,
  change: ProposedChange,
  { context, signal, isDeletion }: Judging,
): Promise<Review> {
  const refuses = mayRefuse(read);
  try {
    const response = await context.simulate(change, signal);
    const texts = consequencesIn(response, { name: read.name, isDry: change.countsDryRun, isDeletion });
    if (!refuses || response.harmless) return { faults: [], warnings: texts };
    return refused(texts);
  } catch (error) {
    if (!isIdentityError(error)) throw error;
    const text = `what it does to recorded calls is not known: ${error.message}`;
    return refuses ? { ...refused([text]), retryable: true } : { faults: [], warnings: [text] };
  }
}

/** Nobody recorded which calls had a token. */
function tokensUnknown(read: PolicyObject): Review {
  if (read.policy !== undefined || read.authentication.tokens !== 'Required') return ACCEPTED;
  return mayRefuse(read) ? refused([TOKENS_UNKNOWN]) : { faults: [], warnings: [TOKENS_UNKNOWN] };
}

function refused(texts: readonly string[]): Review {
  return { faults: texts.map((message) => ({ field: REFUSE_FIELD, message })), warnings: [] };
}
