import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import { parseDeclarationTemplate } from '../identity/declaration-template.ts';
import { faultsIn } from './findings.ts';
import type { ReviewFault } from './review.ts';

/** Every template of a declaration that is none, with line and column, or reads what it may not; not the first one alone. */
export function templateFaults(declaration: IdentityDeclaration): readonly ReviewFault[] {
  return [...templatesOf(declaration)].flatMap(([field, text]) =>
    faultsIn(() => parseDeclarationTemplate(declaration, text, field)),
  );
}

function* templatesOf(declaration: IdentityDeclaration): Generator<readonly [field: string, text: string]> {
  const { spiffeIdTemplate, pathTemplate, dnsNameTemplates, workloadSelectorTemplates, jwtClaims } = declaration;
  if (pathTemplate === undefined) yield ['spec.spiffeIDTemplate', spiffeIdTemplate];
  else yield ['spec.pathTemplate', pathTemplate];
  for (const [index, text] of dnsNameTemplates.entries()) yield [`spec.dnsNameTemplates[${index}]`, text];
  for (const [index, text] of workloadSelectorTemplates.entries()) yield [`spec.workloadSelectorTemplates[${index}]`, text];
  yield* textsIn(jwtClaims, 'spec.jwtClaims');
}

function* textsIn(value: unknown, field: string): Generator<readonly [field: string, text: string]> {
  if (typeof value === 'string') yield [field, value];
  else if (Array.isArray(value)) for (const [index, item] of value.entries()) yield* textsIn(item, `${field}[${index}]`);
  else if (typeof value === 'object' && value !== null) {
    for (const [name, item] of Object.entries(value)) yield* textsIn(item, `${field}.${name}`);
  }
}
