import { IdentityError } from '../../core/errors.ts';
import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import type { JsonObject } from '../ports.ts';
import type { Template } from '../template/template.ts';
import { parseDeclarationTemplate } from './declaration-template.ts';
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
 * @throws IdentityError `invalid_argument`, naming the field and the position; `permission_denied` for a template that reads what
 *   its kind may not
 */
export function compileDeclaration(declaration: IdentityDeclaration): CompiledDeclaration {
  const { spiffeIdTemplate, pathTemplate, dnsNameTemplates, workloadSelectorTemplates } = declaration;
  const parse: Parse = (text, field) => parseDeclarationTemplate(declaration, text, field);
  const spiffeId =
    pathTemplate === undefined ? parse(spiffeIdTemplate, 'spec.spiffeIDTemplate') : parse(pathTemplate, 'spec.pathTemplate');
  const dnsNames = dnsNameTemplates.map((text, index) => parse(text, `spec.dnsNameTemplates[${index}]`));
  const selectors = workloadSelectorTemplates.map((text, index) => parse(text, `spec.workloadSelectorTemplates[${index}]`));
  const jwtClaims = compileClaims(declaration.jwtClaims, parse);
  const templates = [spiffeId, ...dnsNames, ...selectors, ...templatesOf(jwtClaims)];
  const needs = needsOf(templates.flatMap(({ references }) => references));
  return { declaration, spiffeId, dnsNames, selectors, jwtClaims, needs };
}

type Parse = (text: string, field: string) => Template;

function compileClaims(claims: JsonObject, parse: Parse): ClaimsTemplate | undefined {
  if (Object.keys(claims).length === 0) return undefined;
  const compile = (value: unknown, field: string): ClaimsTemplate => {
    if (typeof value === 'string') return { kind: 'text', template: parse(value, field) };
    if (Array.isArray(value)) return { kind: 'list', items: value.map((item, index) => compile(item, `${field}[${index}]`)) };
    if (typeof value !== 'object' || value === null) return { kind: 'value', value };
    const fields = Object.entries(value).map(([name, each]) => [name, compile(each, `${field}.${name}`)] as const);
    return { kind: 'mapping', fields };
  };
  return compile(claims, 'spec.jwtClaims');
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
