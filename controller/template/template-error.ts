import { IdentityError } from '../../core/errors.ts';

/**
 * Why a template is refused or fails:
 * - `syntax`: it is no template; Go would not parse it either.
 * - `certain`: it parses, and would fail whenever the place is reached: a field that does not exist, a missing argument.
 * - `unsupported`: Go would go on, and what it would print cannot be promised here.
 * - `execution`: it failed on the data, as it would in Go.
 * - `limit`: it took more steps or room than a template may.
 */
export type TemplateFailure = 'syntax' | 'certain' | 'unsupported' | 'execution' | 'limit';

/** A failure whose place is not known yet; it becomes a {@link TemplateError} where the place is known. */
export class Fault extends Error {
  readonly failure: TemplateFailure;

  constructor(failure: TemplateFailure, message: string) {
    super(message);
    this.failure = failure;
  }
}

/** What can be said about a template's source, for its errors. */
export interface TemplateSource {
  readonly text: string;
  /** Which field of the resource holds it, such as `spec.spiffeIDTemplate`. */
  readonly field: string;
}

/** A template that cannot be parsed or rendered, with the place in its text: both counted from 1, the column in characters. */
export class TemplateError extends IdentityError {
  readonly failure: TemplateFailure;
  readonly line: number;
  readonly column: number;

  constructor(failure: TemplateFailure, message: string, { source, at }: { source: TemplateSource; at: number }) {
    const before = source.text.slice(0, at).split('\n');
    const line = before.length;
    const column = Array.from(before.at(-1) ?? '').length + 1;
    const code = failure === 'limit' ? 'resource_exhausted' : 'invalid_argument';
    super(code, `${line}:${column}: ${message}`, { field: source.field });
    this.name = 'TemplateError';
    this.failure = failure;
    this.line = line;
    this.column = column;
  }
}
