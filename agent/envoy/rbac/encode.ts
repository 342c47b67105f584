import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Permission,
  PermissionSchema,
  type Principal,
  PrincipalSchema,
} from '../../../proto/gen/envoy/config/rbac/v3/rbac_pb.ts';
import type { HeaderMatcherSchema } from '../../../proto/gen/envoy/config/route/v3/route_components_pb.ts';
import type { StringMatcherSchema } from '../../../proto/gen/envoy/type/matcher/v3/string_pb.ts';
import type { Condition, TextCondition } from './condition.ts';

type Atom = Extract<Condition, { kind: 'header' | 'path' }>;

/** The permissions of a policy, any of which must hold. @throws Error for a condition about the peer, which they cannot have */
export function permissionsOf(condition: Condition): Permission[] {
  return (condition.kind === 'any' ? condition.of : [condition]).map(permissionOf);
}

/** The principals of a policy, any of which must hold. @throws Error for a condition about the port, which they cannot have */
export function principalsOf(condition: Condition): Principal[] {
  return (condition.kind === 'any' ? condition.of : [condition]).map(principalOf);
}

function permissionOf(condition: Condition): Permission {
  return create(PermissionSchema, { rule: permissionRule(condition) });
}

function permissionRule(condition: Condition): NonNullable<MessageInitShape<typeof PermissionSchema>['rule']> {
  switch (condition.kind) {
    case 'constant':
      return condition.holds
        ? { case: 'any', value: true }
        : { case: 'notRule', value: permissionOf({ kind: 'constant', holds: true }) };
    case 'all':
      return { case: 'andRules', value: { rules: condition.of.map(permissionOf) } };
    case 'any':
      return { case: 'orRules', value: { rules: condition.of.map(permissionOf) } };
    case 'not':
      return { case: 'notRule', value: permissionOf(condition.of) };
    case 'port':
      if (condition.first === condition.last) return { case: 'destinationPort', value: condition.first };
      return { case: 'destinationPortRange', value: { start: condition.first, end: condition.last + 1 } };
    case 'header':
    case 'path':
      return atomOf(condition);
    default:
      throw new Error('a permission cannot say who calls');
  }
}

function principalOf(condition: Condition): Principal {
  return create(PrincipalSchema, { identifier: identifierOf(condition) });
}

function identifierOf(condition: Condition): NonNullable<MessageInitShape<typeof PrincipalSchema>['identifier']> {
  switch (condition.kind) {
    case 'constant':
      return condition.holds
        ? { case: 'any', value: true }
        : { case: 'notId', value: principalOf({ kind: 'constant', holds: true }) };
    case 'all':
      return { case: 'andIds', value: { ids: condition.of.map(principalOf) } };
    case 'any':
      return { case: 'orIds', value: { ids: condition.of.map(principalOf) } };
    case 'not':
      return { case: 'notId', value: principalOf(condition.of) };
    case 'principal':
      return { case: 'authenticated', value: { principalName: matcherOf(condition.text) } };
    case 'address':
      return { case: 'sourceIp', value: { addressPrefix: condition.prefix, prefixLen: condition.length } };
    case 'header':
    case 'path':
      return atomOf(condition);
    default:
      throw new Error('a principal cannot say which port is called');
  }
}

function atomOf(atom: Atom) {
  if (atom.kind === 'path') {
    return { case: 'urlPath', value: { rule: { case: 'path', value: matcherOf(atom.text) } } } as const;
  }
  const { name, text } = atom;
  const specifier: MessageInitShape<typeof HeaderMatcherSchema>['headerMatchSpecifier'] =
    text === undefined ? { case: 'presentMatch', value: true } : { case: 'stringMatch', value: matcherOf(text) };
  return { case: 'header', value: { name, headerMatchSpecifier: specifier } } as const;
}

/** The text condition as Envoy has it. */
export function matcherOf(text: TextCondition): MessageInitShape<typeof StringMatcherSchema> {
  if ('regex' in text) return { matchPattern: { case: 'safeRegex', value: { regex: text.regex } } };
  const ignoreCase = text.ignoreCase ?? false;
  if ('exact' in text) return { matchPattern: { case: 'exact', value: text.exact }, ignoreCase };
  if ('prefix' in text) return { matchPattern: { case: 'prefix', value: text.prefix }, ignoreCase };
  if ('suffix' in text) return { matchPattern: { case: 'suffix', value: text.suffix }, ignoreCase };
  return { matchPattern: { case: 'contains', value: text.contains }, ignoreCase };
}
