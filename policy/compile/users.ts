import { anyGlobTest } from '../match/glob.ts';
import type { TextTest } from '../match/glob.ts';
import type { User } from '../model.ts';
import type { UserClause } from '../resources/source-clause.ts';
import type { Json } from '../schema/json.ts';
import type { Matched, Matcher } from './literal.ts';

/** Whether the user is one of those that any of the clauses is about. */
export function anyUser(clauses: readonly UserClause[]): Matcher {
  const tests = clauses.map(userTest);
  return ({ user }) => (user === undefined ? undefined : ofAny(tests.map((test) => test(user))));
}

function ofAny(matched: readonly Matched[]): Matched {
  return matched.includes(true) || (matched.includes('unclear') && 'unclear');
}

function ofAll(matched: readonly Matched[]): Matched {
  return !matched.includes(false) && (matched.includes('unclear') ? 'unclear' : true);
}

function userTest({ issuer, subjects, roles, scopes }: UserClause): (user: User) => Matched {
  const isSubject: TextTest = subjects === undefined ? () => true : anyGlobTest(subjects);
  return (user) =>
    ofAll([
      issuer === undefined || user.issuer === issuer,
      isSubject(user.subject),
      roles === undefined || holdsAny(rolesOf(user), roles),
      scopes === undefined || holdsAll(scopesOf(user), scopes),
    ]);
}

/** Texts of a claim; undefined where it has a shape of which nobody can say which texts it means. */
type Texts = readonly string[] | undefined;

const holdsAny = (has: Texts, wanted: readonly string[]): Matched =>
  has === undefined ? 'unclear' : wanted.some((each) => has.includes(each));
const holdsAll = (has: Texts, wanted: readonly string[]): Matched =>
  has === undefined ? 'unclear' : wanted.every((each) => has.includes(each));

/** Roles: a list, or one text. */
function rolesOf({ claims }: User): Texts {
  return textsIn(claims['roles'], (text) => [text]);
}

/** Scopes of a token: `scope` of RFC 8693 §4.2, one text; or `scp`, a list or one text. */
function scopesOf({ claims }: User): Texts {
  const [scope, scp] = [claims['scope'], claims['scp']].map((claim) => textsIn(claim, (text) => text.split(' ')));
  return scope === undefined || scp === undefined ? undefined : [...scope, ...scp];
}

/** A claim that is not there has none. */
function textsIn(claim: Json | undefined, ofText: (text: string) => readonly string[]): Texts {
  if (claim === undefined) return [];
  if (typeof claim === 'string') return ofText(claim);
  return Array.isArray(claim) && claim.every((each) => typeof each === 'string') ? claim : undefined;
}
