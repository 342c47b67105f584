import { Budget } from './budget.ts';
import { Frame } from './frame.ts';
import { parseStatements } from './parse-statements.ts';
import { DATA_TYPE, type TemplateData } from './pod-data.ts';
import { referencesOf } from './references.ts';
import { Fault, TemplateError, type TemplateSource } from './template-error.ts';
import { compileStatements } from './walk.ts';

/** A parsed template, ready to render any number of times. */
export interface Template {
  /** As it was given. */
  readonly text: string;
  /**
   * What it may read, as Go field names from the root: `[['PodMeta', 'Labels'], ['PodSpec', 'ServiceAccountName']]`. A path
   * stands for all below it, and ends at the first map or list; `[]` stands for everything. Never too little.
   */
  readonly references: readonly (readonly string[])[];
  /**
   * @param budget What it may take: that of the whole entry, where several templates make one.
   * @throws {TemplateError} For what Go's template would fail on, and for what cannot be rendered exactly as Go would.
   */
  render(data: TemplateData, budget?: Budget): string;
}

/** Longer than any template that a person writes. */
const MAX_TEXT_LENGTH = 16_384;

/**
 * Parses a Go `text/template`.
 *
 * @param field Which field of the resource holds it, for the error.
 * @throws {TemplateError} `invalid_argument`, with line and column, for what is not a template, would fail wherever it is
 *   reached, or uses what is not supported; `resource_exhausted` for what is too long or too deep.
 * @example parseTemplate('spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}', 'spec.spiffeIDTemplate').render(data)
 */
export function parseTemplate(text: string, field: string): Template {
  const source: TemplateSource = { text: text.toWellFormed(), field };
  if (text.length > MAX_TEXT_LENGTH) {
    throw new TemplateError('limit', `a template has ${MAX_TEXT_LENGTH} characters at most`, { source, at: 0 });
  }
  const statements = parseStatements(source);
  const references = referencesOf(statements, source);
  const walk = compileStatements(statements, source);
  const render = ({ root }: TemplateData, budget = new Budget()): string => {
    const dot = { kind: 'pointer', type: DATA_TYPE, data: root } as const;
    const frame = new Frame(dot, budget);
    try {
      walk(frame, dot);
    } catch (fault) {
      if (fault instanceof Fault) throw new TemplateError(fault.failure, fault.message, { source, at: frame.at });
      throw fault;
    }
    return frame.output;
  };
  return { text, references, render };
}
