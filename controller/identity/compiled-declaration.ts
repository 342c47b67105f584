import { IdentityError } from '../../core/errors.ts';
import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import type { JsonObject } from '../ports.ts';
import { parseTemplate, type Template } from '../template/template.ts';
import { needsOf, type Needs } from './trim.ts';

/** A JSON value whose text leaves are templates. */
export type ClaimsTemplate =
  | { readonly kind: 'text'; readonly template: Template }
  | { readonly kind: 'list'; readonly items: readonly ClaimsTemplate[] }
  | { readonly kind: 'mapping'; readonly fields: readonly (readonly [string, ClaimsTemplate])[] }
  | { readonly kind: 'value'; readonly value: unknown };

/** A declaration with its templates parsed. */
export interface CompiledDeclaration {
  readonly declaration: IdentityDeclaration;
  /** Of the SPIFFE ID, or of what follows the namespace's path. */
  readonly spiffeId: Template;
  readonly dnsNames: readonly Template[];
  readonly selectors: readonly Template[];
  readonly jwtClaims: ClaimsTemplate | undefined;
  /** What of pods and nodes its templates read. */
  readonly needs: Needs;
}

/**
 * Parses the templates of a declaration.
 *
 * @throws IdentityError `invalid_argument`, naming the field and the position
 */
export function compileDeclaration(declaration: IdentityDeclaration): CompiledDeclaration {
  const spiffeId =
    declaration.pathTemplate === undefined
      ? parseTemplate(declaration.spiffeIdTemplate, 'spec.spiffeIDTemplate')
      : parseTemplate(declaration.pathTemplate, 'spec.pathTemplate');
  const dnsNames = declaration.dnsNameTemplates.map((text, index) => parseTemplate(text, `spec.dnsNameTemplates[${index}]`));
  const selectors = declaration.workloadSelectorTemplates.map((text, index) =>
    parseTemplate(text, `spec.workloadSelectorTemplates[${index}]`),
  );
  const claims = compileClaims(declaration.jwtClaims);
  const templates = [spiffeId, ...dnsNames, ...selectors, ...templatesOf(claims)];
  const needs = needsOf(templates.flatMap(({ references }) => references));
  return { declaration, spiffeId, dnsNames, selectors, jwtClaims: claims, needs };
}

function compileClaims(claims: JsonObject): ClaimsTemplate | undefined {
  if (Object.keys(claims).length === 0) return undefined;
  return compileValue(claims, 'spec.jwtClaims');
}

function compileValue(value: unknown, field: string): ClaimsTemplate {
  if (typeof value === 'string') return { kind: 'text', template: parseTemplate(value, field) };
  if (Array.isArray(value)) return { kind: 'list', items: value.map((item, index) => compileValue(item, `${field}[${index}]`)) };
  if (typeof value !== 'object' || value === null) return { kind: 'value', value };
  const fields = Object.entries(value).map(([name, each]) => [name, compileValue(each, `${field}.${name}`)] as const);
  return { kind: 'mapping', fields };
}

function templatesOf(claims: ClaimsTemplate | undefined): readonly Template[] {
  if (claims === undefined || claims.kind === 'value') return [];
  if (claims.kind === 'text') return [claims.template];
  if (claims.kind === 'list') return claims.items.flatMap(templatesOf);
  return claims.fields.flatMap(([, each]) => templatesOf(each));
}

/** The claims for one pod. @throws IdentityError when a template fails */
export function renderClaims(claims: ClaimsTemplate, render: (template: Template) => string): JsonObject {
  const value = renderValue(claims, render);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw new IdentityError('internal', 'claims are a mapping');
}

function renderValue(claims: ClaimsTemplate, render: (template: Template) => string): unknown {
  if (claims.kind === 'text') return render(claims.template);
  if (claims.kind === 'value') return claims.value;
  if (claims.kind === 'list') return claims.items.map((item) => renderValue(item, render));
  return Object.fromEntries(claims.fields.map(([name, each]) => [name, renderValue(each, render)]));
}
