// What Envoy's RBAC filters do, written from their contract: a second opinion on what policies are compiled to.
import { formatIpAddress, isWithin, readIpAddress, readIpBlock } from '../../../policy/match/ip.ts';
import { compileRegex } from '../../../policy/expressions/re2.ts';
import { type Permission, type Principal, type RBAC, RBAC_Action } from '../../../proto/gen/envoy/config/rbac/v3/rbac_pb.ts';
import type { CidrRange } from '../../../proto/gen/envoy/config/core/v3/address_pb.ts';
import type { HeaderMatcher } from '../../../proto/gen/envoy/config/route/v3/route_components_pb.ts';
import type { PathMatcher } from '../../../proto/gen/envoy/type/matcher/v3/path_pb.ts';
import type { StringMatcher } from '../../../proto/gen/envoy/type/matcher/v3/string_pb.ts';

/** A connection or request as Envoy's filters see it. */
export interface EnvoyCall {
  /** URI name of the peer's certificate. */
  readonly peer: string | undefined;
  /** Address of the peer; none on a unix socket. */
  readonly address: string | undefined;
  readonly port: number | undefined;
  /** Values of headers by their names in lower case, pseudo-headers included; absent on a connection. */
  readonly headers?: ReadonlyMap<string, readonly string[]>;
}

/** What the filter answers, and the policy that it names. */
export interface RbacAnswer {
  readonly isAllowed: boolean;
  readonly policy: string | undefined;
}

const regexes = new Map<string, (text: string) => boolean>();

/** What the rules answer. */
export function interpretRbac(rbac: RBAC, call: EnvoyCall): RbacAnswer {
  const names = Object.keys(rbac.policies).sort();
  const policy = names.find((name) => {
    const { permissions = [], principals = [] } = rbac.policies[name] ?? {};
    return permissions.some((each) => permits(each, call)) && principals.some((each) => isMeant(each, call));
  });
  return { isAllowed: (policy !== undefined) === (rbac.action === RBAC_Action.ALLOW), policy };
}

function permits({ rule }: Permission, call: EnvoyCall): boolean {
  switch (rule.case) {
    case 'andRules':
      return rule.value.rules.every((each) => permits(each, call));
    case 'orRules':
      return rule.value.rules.some((each) => permits(each, call));
    case 'notRule':
      return !permits(rule.value, call);
    case 'any':
      return true;
    case 'header':
      return headerMatches(rule.value, call);
    case 'urlPath':
      return pathMatches(rule.value, call);
    case 'destinationPort':
      return call.port === rule.value;
    case 'destinationPortRange':
      return call.port !== undefined && call.port >= rule.value.start && call.port < rule.value.end;
    default:
      throw new Error(`not expected: ${String(rule.case)}`);
  }
}

function isMeant({ identifier }: Principal, call: EnvoyCall): boolean {
  switch (identifier.case) {
    case 'andIds':
      return identifier.value.ids.every((each) => isMeant(each, call));
    case 'orIds':
      return identifier.value.ids.some((each) => isMeant(each, call));
    case 'notId':
      return !isMeant(identifier.value, call);
    case 'any':
      return true;
    case 'authenticated': {
      const { principalName: name } = identifier.value;
      return call.peer !== undefined && (name === undefined || textMatches(name, call.peer));
    }
    case 'sourceIp':
      return addressMatches(identifier.value, call);
    case 'header':
      return headerMatches(identifier.value, call);
    case 'urlPath':
      return pathMatches(identifier.value, call);
    default:
      throw new Error(`not expected: ${String(identifier.case)}`);
  }
}

function addressMatches({ addressPrefix, prefixLen = 0 }: CidrRange, { address }: EnvoyCall): boolean {
  const ip = address === undefined ? undefined : readIpAddress(address);
  const block = readIpBlock(`${addressPrefix}/${prefixLen}`);
  if (block === undefined || formatIpAddress(block.address) === '') throw new Error(`no block: ${addressPrefix}`);
  return ip !== undefined && isWithin(block, ip);
}

function headerMatches({ name, headerMatchSpecifier: specifier }: HeaderMatcher, { headers }: EnvoyCall): boolean {
  const values = headers?.get(name);
  if (values === undefined) return false;
  if (specifier.case === 'presentMatch') return specifier.value;
  if (specifier.case === 'stringMatch') return values.some((value) => textMatches(specifier.value, value));
  throw new Error('a header without a condition');
}

function pathMatches({ rule }: PathMatcher, { headers }: EnvoyCall): boolean {
  const [target] = headers?.get(':path') ?? [];
  if (target === undefined || rule.value === undefined) return false;
  return textMatches(rule.value, target.split(/[?#]/, 1)[0] ?? '');
}

function textMatches({ matchPattern: pattern, ignoreCase }: StringMatcher, value: string): boolean {
  const folded = (text: string): string => (ignoreCase ? text.toLowerCase() : text);
  switch (pattern.case) {
    case 'exact':
      return folded(value) === folded(pattern.value);
    case 'prefix':
      return folded(value).startsWith(folded(pattern.value));
    case 'suffix':
      return folded(value).endsWith(folded(pattern.value));
    case 'contains':
      return folded(value).includes(folded(pattern.value));
    case 'safeRegex':
      return regexOf(pattern.value.regex)(value);
    default:
      throw new Error('a text without a condition');
  }
}

function regexOf(text: string): (text: string) => boolean {
  const known = regexes.get(text) ?? compileRegex(text);
  regexes.set(text, known);
  return known;
}
