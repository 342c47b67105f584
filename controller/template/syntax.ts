// The syntax tree of a template. `at` is an offset in the text.
import type { Value } from './value.ts';

/** What a command is made of: a literal, something to look up, or a pipeline in parentheses. */
export type Operand =
  | { readonly kind: 'dot' | 'nil'; readonly at: number }
  | { readonly kind: 'literal'; readonly at: number; readonly value: Value }
  | { readonly kind: 'field'; readonly at: number; readonly names: readonly string[] }
  | { readonly kind: 'variable'; readonly at: number; readonly name: string; readonly names: readonly string[] }
  | { readonly kind: 'function'; readonly at: number; readonly name: string }
  | { readonly kind: 'pipeline'; readonly at: number; readonly pipeline: Pipeline }
  | { readonly kind: 'chain'; readonly at: number; readonly of: Operand; readonly names: readonly string[] };

/** `a b c`: a function with its arguments, or one operand. */
export interface Command {
  readonly at: number;
  readonly first: Operand;
  readonly rest: readonly Operand[];
}

/** `$x := a | b | c`. */
export interface Pipeline {
  readonly at: number;
  readonly commands: readonly Command[];
  /** The variables that take its value. */
  readonly variables: readonly string[];
  /** Whether it gives known variables (`=`) a value, rather than declaring new ones (`:=`). */
  readonly assigns: boolean;
}

/** A piece of a template. */
export type Statement =
  | { readonly kind: 'text'; readonly at: number; readonly text: string }
  | { readonly kind: 'action'; readonly at: number; readonly pipeline: Pipeline }
  | Branch
  | { readonly kind: 'break' | 'continue'; readonly at: number };

/** `{{if}}`, `{{with}}` or `{{range}}`, with what is done `otherwise`. */
export interface Branch {
  readonly kind: 'if' | 'with' | 'range';
  readonly at: number;
  readonly pipeline: Pipeline;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[];
}
