import { IdentityError } from '../../core/errors.ts';
import type { TemplateData } from './pod-data.ts';

/** A parsed template, ready to render any number of times. */
export interface Template {
  /** As it was given. */
  readonly text: string;
  /**
   * What it may read, as Go field names from the root: `[['PodMeta', 'Labels'], ['PodSpec', 'ServiceAccountName']]`. A path
   * stands for all below it, and ends at the first map or list; `[]` stands for everything. Never too little.
   */
  readonly references: readonly (readonly string[])[];
  /** @throws {TemplateError} For what Go's template would fail on, and for what cannot be rendered exactly as Go would. */
  render(data: TemplateData): string;
}

/**
 * Parses a Go `text/template`.
 *
 * @param field Which field of the resource holds it, for the error.
 * @throws {TemplateError} `invalid_argument`, with line and column, for what is not a template or uses what is not supported.
 * @example parseTemplate('spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}', 'spec.spiffeIDTemplate').render(data)
 */
export function parseTemplate(_text: string, field: string): Template {
  throw new IdentityError('unimplemented', 'templates are not there yet', { field });
}
