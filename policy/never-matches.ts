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
    ...paths.flatMap(({ exact, prefix, template, regex }, index) => {
      const fault = pathFault(exact ?? prefix) ?? templateFault(template) ?? regexFault(regex);
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

// A first slash that must be there, no alternatives, and a last slash that is another one.
const ONLY_WITH_SLASH = /^\^?\\?\/(?![?*{|])[^|]*\/\$?$/;

/** Normalised paths end with no slash, but for the root. */
function regexFault(regex: string | undefined): string | undefined {
  return regex !== undefined && ONLY_WITH_SLASH.test(regex) ? 'requests have no slash at the end of their path' : undefined;
}

function templateFault(template: string | undefined): string | undefined {
  const isGood =
    template === undefined || parsePathTemplate(template.length > 1 ? template.replace(/\/$/, '') : template) !== undefined;
  return isGood ? undefined : 'is no template; {name} must be a whole segment, {name=**} the last one';
}

/** Whether it is certain that a rule matches no request: each of its clauses asks only for methods, or only for paths, that no request has. */
export function matchesNoRequest({ to = [] }: RuleSpec): boolean {
  return to.length > 0 && to.every(({ methods, paths }) => areRefused(methods) || areNeverMet(paths));
}

function areRefused(methods: OperationClause['methods']): boolean {
  return methods?.every((method) => method !== method.toUpperCase()) ?? false;
}

function areNeverMet(paths: OperationClause['paths']): boolean {
  return paths?.every(({ exact, template }) => (pathFault(exact) ?? templateFault(template)) !== undefined) ?? false;
}
