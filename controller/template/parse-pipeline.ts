// Pipelines: `$x := command | command`, where a command is operands with spaces between them.
import type { TokenKind } from './lexer.ts';
import { characterValue, numberValue, unquoted } from './literals.ts';
import { BUILTINS } from './builtins.ts';
import type { Command, Operand, Pipeline } from './syntax.ts';
import type { TokenCursor } from './token-cursor.ts';
import { boolValue, stringValue } from './value.ts';

const OPERAND_STARTS: ReadonlySet<TokenKind> = new Set<TokenKind>([
  'bool',
  'char',
  'dot',
  'field',
  'identifier',
  'number',
  'nil',
  'raw',
  'string',
  'variable',
  '(',
]);

/** Deeper than any template that a person writes, and never so deep that the stack is at risk. */
const MAX_DEPTH = 100;

/** Reads pipelines; knows which variables are declared at the place. */
export class PipelineParser {
  /** Names of the variables in scope, innermost last. Whoever opens a scope cuts it back to what it was. */
  readonly variables = ['$'];
  readonly #cursor: TokenCursor;
  #depth = 0;

  constructor(cursor: TokenCursor) {
    this.#cursor = cursor;
  }

  /** Reads up to and with the closing token. */
  parse(context: string, close: 'close' | ')'): Pipeline {
    const { at } = this.#cursor.peekNonSpace();
    const { names, assigns } = this.#declarations(context);
    const commands: Command[] = [];
    let token = this.#cursor.peekNonSpace();
    while (token.kind !== close) {
      if (!OPERAND_STARTS.has(token.kind)) this.#cursor.unexpected(token, context);
      commands.push(this.#command());
      token = this.#cursor.peekNonSpace();
    }
    this.#cursor.next();
    if (commands.length === 0) this.#cursor.fail(`a value is missing in ${context}`, token.at);
    for (const { first } of commands.slice(1)) this.#expectExecutable(first);
    return { at, commands, variables: names, assigns };
  }

  #declarations(context: string): { names: string[]; assigns: boolean } {
    const names: string[] = [];
    while (this.#cursor.peekNonSpace().kind === 'variable') {
      const behind = this.#cursor.peek(1).kind === 'space' ? this.#cursor.peek(2) : this.#cursor.peek(1);
      const comma = behind.kind === 'symbol' && behind.text === ',';
      if (behind.kind !== 'assign' && behind.kind !== 'declare' && !comma) break;
      const { text: name, at } = this.#cursor.next();
      this.#cursor.nextNonSpace();
      names.push(name);
      this.variables.push(name);
      if (!comma) return { names, assigns: behind.kind === 'assign' };
      if (context !== 'range' || names.length > 1) this.#cursor.fail(`too many variables in ${context}`, at);
      const { kind, at: next } = this.#cursor.peekNonSpace();
      if (kind !== 'variable' && kind !== 'close') this.#cursor.fail('a range can only set variables', next);
    }
    return { names, assigns: false };
  }

  #expectExecutable({ kind, at }: Operand): void {
    const plain = kind === 'dot' || kind === 'nil' || kind === 'literal';
    if (plain) this.#cursor.fail('only a function can stand behind |', at);
  }

  #command(): Command {
    const { at } = this.#cursor.peekNonSpace();
    const operands: Operand[] = [];
    for (;;) {
      this.#cursor.skipSpace();
      const operand = this.#operand();
      if (operand !== undefined) operands.push(operand);
      const { kind } = this.#cursor.peek();
      if (kind === 'space') continue;
      if (kind === 'pipe') this.#cursor.next();
      else if (kind !== 'close' && kind !== ')') this.#cursor.unexpected(this.#cursor.peek(), 'a command');
      break;
    }
    const [first, ...rest] = operands;
    if (first === undefined) this.#cursor.fail('empty command', at);
    return { at, first, rest };
  }

  #operand(): Operand | undefined {
    const term = this.#term();
    if (term === undefined || this.#cursor.peek().kind !== 'field') return term;
    const { at } = this.#cursor.peek();
    const names: string[] = [];
    while (this.#cursor.peek().kind === 'field') names.push(this.#cursor.next().text.slice(1));
    if (term.kind === 'field' || term.kind === 'variable') return { ...term, names: [...term.names, ...names] };
    if (term.kind === 'function' || term.kind === 'pipeline') return { kind: 'chain', at, of: term, names };
    return this.#cursor.fail(`.${names[0]} of what has no fields`, at);
  }

  #term(): Operand | undefined {
    const token = this.#cursor.peekNonSpace();
    if (!OPERAND_STARTS.has(token.kind)) return undefined;
    this.#cursor.next();
    const { text, at } = token;
    const literal = (parse: () => Extract<Operand, { kind: 'literal' }>['value']): Operand => ({
      kind: 'literal',
      at,
      value: this.#cursor.within(token, parse),
    });
    switch (token.kind) {
      case 'dot':
      case 'nil':
        return { kind: token.kind, at };
      case 'bool':
        return literal(() => boolValue(text === 'true'));
      case 'char':
        return literal(() => characterValue(text));
      case 'number':
        return literal(() => numberValue(text));
      case 'string':
      case 'raw':
        return literal(() => stringValue(unquoted(text)));
      case 'field':
        return { kind: 'field', at, names: [text.slice(1)] };
      case 'variable':
        return this.#variable(text, at);
      case 'identifier':
        return this.#function(text, at);
      default:
        return this.#parenthesized(at);
    }
  }

  #variable(name: string, at: number): Operand {
    if (!this.variables.includes(name)) this.#cursor.fail(`the variable ${name} is not declared`, at);
    return { kind: 'variable', at, name, names: [] };
  }

  #function(name: string, at: number): Operand {
    if (name === 'call') this.#cursor.fail('call is not supported: there is no function to call', at, 'unsupported');
    if (!BUILTINS.has(name)) this.#cursor.fail(`there is no function ${name}`, at);
    return { kind: 'function', at, name };
  }

  #parenthesized(at: number): Operand {
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) this.#cursor.fail(`more than ${MAX_DEPTH} parentheses in each other`, at, 'limit');
    const pipeline = this.parse('parentheses', ')');
    this.#depth -= 1;
    return { kind: 'pipeline', at, pipeline };
  }
}
