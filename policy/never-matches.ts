import { parsePathTemplate } from './match/path-template.ts';
import { normalizePath } from './normalize/path.ts';
import { RefusedRequest } from './normalize/refusal.ts';
import type { OperationClause } from './resources/operation-clause.ts';
import type { RuleSpec } from './resources/policy-spec.ts';

/** Why a rule, or a part of it, can match no call, as far as its own text tells. */
export function neverMatches({ to = [] }: RuleSpec): readonly string[] {
  return to.flatMap((clause, index) => faultsOf(clause).map((fault) => `to[${index}].${fault}`));
}

function faultsOf({ ports = [], methods = [], paths = [] }: OperationClause): string[] {
  return [
    ...ports.filter(isEmptyRange).map((range) => `ports: ${range} is empty`),
    ...methods
      .filter((method) => method !== method.toUpperCase())
      .map((method) => `methods: ${method} is refused; write ${method.toUpperCase()}`),
    ...paths.flatMap(({ exact, prefix, template }, index) => {
      const fault = pathFault(exact ?? prefix) ?? templateFault(template);
      return fault === undefined ? [] : [`paths[${index}]: ${fault}`];
    }),
  ];
}

function isEmptyRange(range: string): boolean {
  const [first = 0, last = first] = range.split('-').map(Number);
  return last < first || last > 65_535;
}

/** Requests are compared after normalisation: a path that is not normal itself is never met. */
function pathFault(path: string | undefined): string | undefined {
  if (path === undefined || path === '*') return undefined;
  try {
    // A policy says what it means: characters that a request must encode stand for themselves here.
    const normal = normalizePath(encodeURI(path));
    return normal === path || `${normal}/` === path ? undefined : `requests have it as ${normal}`;
  } catch (error) {
    if (error instanceof RefusedRequest) return `requests for it are refused (${error.refusal})`;
    throw error;
  }
}

function templateFault(template: string | undefined): string | undefined {
  const isGood =
    template === undefined || parsePathTemplate(template.length > 1 ? template.replace(/\/$/, '') : template) !== undefined;
  return isGood ? undefined : 'is no template; {name} must be a whole segment, {name=**} the last one';
}
