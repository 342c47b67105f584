import { anyGlobTest } from '../match/glob.ts';
import type { TextTest } from '../match/glob.ts';
import type { User } from '../model.ts';
import type { UserClause } from '../resources/source-clause.ts';
import type { Json } from '../schema/json.ts';
import type { Matcher } from './literal.ts';

/** Whether the user is one of those that any of the clauses is about. */
export function anyUser(clauses: readonly UserClause[]): Matcher {
  const tests = clauses.map(userTest);
  return ({ user }) => (user === undefined ? undefined : tests.some((test) => test(user)));
}

function userTest({ issuer, subjects, roles, scopes }: UserClause): (user: User) => boolean {
  const isSubject: TextTest = subjects === undefined ? () => true : anyGlobTest(subjects);
  return (user) =>
    (issuer === undefined || user.issuer === issuer) &&
    isSubject(user.subject) &&
    (roles === undefined || holdsAny(textsIn(user.claims['roles']), roles)) &&
    (scopes === undefined || holdsAll(scopesOf(user), scopes));
}

const holdsAny = (has: readonly string[], wanted: readonly string[]): boolean => wanted.some((each) => has.includes(each));
const holdsAll = (has: readonly string[], wanted: readonly string[]): boolean => wanted.every((each) => has.includes(each));

/** Scopes of a token: `scope` of RFC 8693 §4.2, one text; or `scp`, a list or one text. */
function scopesOf({ claims }: User): readonly string[] {
  return [claims['scope'], claims['scp']].flatMap((claim) => (typeof claim === 'string' ? claim.split(' ') : textsIn(claim)));
}

function textsIn(claim: Json | undefined): readonly string[] {
  return Array.isArray(claim) ? claim.filter((each) => typeof each === 'string') : [];
}
