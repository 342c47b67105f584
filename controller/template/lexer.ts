// Splits a template into text and the tokens of its actions, as Go's text/template does.
import { TemplateError, type TemplateFailure, type TemplateSource } from './template-error.ts';

/** What a token is. `symbol` is any printable character that means nothing by itself; only the comma of a range ever counts. */
export type TokenKind =
  | 'text'
  | 'open'
  | 'close'
  | 'space'
  | 'pipe'
  | 'declare'
  | 'assign'
  | '('
  | ')'
  | 'string'
  | 'raw'
  | 'char'
  | 'number'
  | 'bool'
  | 'dot'
  | 'nil'
  | 'keyword'
  | 'field'
  | 'variable'
  | 'identifier'
  | 'symbol'
  | 'end of template';

/** A token; `at` is its offset in the text. */
export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly at: number;
}

const KEYWORDS = new Set(['block', 'break', 'continue', 'define', 'else', 'end', 'if', 'range', 'template', 'with']);
const SPACE = /[ \t\r\n]+/y;
const CLOSE = /(?:[ \t\r\n]-)?\}\}/y;
const LEFT_TRIM = /-[ \t\r\n]/y;
const WORD = /\w+/y;
const NAME_END = /[ \t\r\n.,|:)(]|\}\}|$/y;
const QUOTED = /"(?:\\[^\n]|[^"\\\n])*"/y;
const RAW = /`[^`]*`/y;
const CHAR = /'(?:\\[^\n]|[^'\\\n])*'/y;
const HEX = String.raw`0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?`;
const OCTAL_OR_BINARY = String.raw`0[oO][0-7_]*(?:\.[0-7_]*)?|0[bB][01_]*(?:\.[01_]*)?`;
const DECIMAL = String.raw`[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?`;
const NUMBER = new RegExp(`[+-]?(?:${HEX}|${OCTAL_OR_BINARY}|${DECIMAL})i?`, 'y');

/** @throws {TemplateError} Where the text is no template. */
export function tokensOf(source: TemplateSource): Token[] {
  return new Lexer(source).run();
}

class Lexer {
  readonly #source: TemplateSource;
  readonly #text: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #parentheses = 0;

  constructor(source: TemplateSource) {
    this.#source = source;
    this.#text = source.text;
  }

  run(): Token[] {
    let open = this.#text.indexOf('{{');
    while (open >= 0) {
      this.#lexText(open);
      this.#lexAction();
      open = this.#text.indexOf('{{', this.#at);
    }
    this.#push('text', this.#text.slice(this.#at));
    this.#tokens.push({ kind: 'end of template', text: '', at: this.#text.length });
    return this.#tokens;
  }

  #push(kind: TokenKind, text: string): void {
    if (text !== '') this.#tokens.push({ kind, text, at: this.#at });
    this.#at += text.length;
  }

  #fail(message: string, failure: TemplateFailure = 'syntax'): never {
    throw new TemplateError(failure, message, { source: this.#source, at: this.#at });
  }

  /** What the expression matches here, or nothing. */
  #match(expression: RegExp): string | undefined {
    expression.lastIndex = this.#at;
    return expression.exec(this.#text)?.[0];
  }

  #lexText(end: number): void {
    const text = this.#text.slice(this.#at, end);
    LEFT_TRIM.lastIndex = end + 2;
    this.#push('text', LEFT_TRIM.test(this.#text) ? text.replace(/[ \t\r\n]+$/, '') : text);
    this.#at = end;
  }

  #lexAction(): void {
    const open = this.#at;
    this.#at += 2;
    if (this.#match(LEFT_TRIM) !== undefined) this.#at += 2;
    if (this.#text.startsWith('/*', this.#at)) return this.#skipComment();
    this.#tokens.push({ kind: 'open', text: '{{', at: open });
    this.#parentheses = 0;
    while (!this.#lexClose()) this.#lexInside();
  }

  #skipComment(): void {
    const end = this.#text.indexOf('*/', this.#at + 2);
    if (end < 0) this.#fail('the comment is not closed by */');
    this.#at = end + 2;
    const close = this.#match(CLOSE);
    if (close === undefined) this.#fail('a comment must fill its action: }} is expected right behind */');
    this.#pass(close);
  }

  #lexClose(): boolean {
    const close = this.#match(CLOSE);
    if (close === undefined) return false;
    if (this.#parentheses > 0) this.#fail('a parenthesis is not closed');
    this.#tokens.push({ kind: 'close', text: '}}', at: this.#at });
    this.#pass(close);
    return true;
  }

  /** Goes behind the end of an action, and behind the spaces that it trims. */
  #pass(close: string): void {
    this.#at += close.length;
    if (close.length > 2) this.#at += this.#match(SPACE)?.length ?? 0;
  }

  #lexInside(): void {
    const next = this.#text[this.#at];
    if (next === undefined) this.#fail('the action is not closed by }}');
    const space = this.#match(SPACE);
    if (space !== undefined) return this.#lexSpace(space);
    if (next === '"') return this.#lexQuoted('string', QUOTED);
    if (next === '`') return this.#lexQuoted('raw', RAW);
    if (next === "'") return this.#lexQuoted('char', CHAR);
    if (/[+\-0-9]|\.[0-9]/.test(next) || /^\.[0-9]/.test(this.#text.slice(this.#at, this.#at + 2))) return this.#lexNumber();
    if (next === '.' || next === '$') return this.#lexNamed(next);
    if (/\w/.test(next)) return this.#lexWord();
    this.#lexSymbol(next);
  }

  /** The last space before `-}}` belongs to the trim marker. */
  #lexSpace(space: string): void {
    const trims = this.#text.startsWith('-}}', this.#at + space.length);
    this.#push('space', trims ? space.slice(0, -1) : space);
  }

  #lexQuoted(kind: TokenKind, expression: RegExp): void {
    const quoted = this.#match(expression);
    if (quoted === undefined) this.#fail(`the quote is not closed${kind === 'raw' ? '' : ' on its line'}`);
    this.#push(kind, quoted);
  }

  #lexNumber(): void {
    const number = this.#match(NUMBER) ?? '';
    const following = this.#text[this.#at + number.length] ?? '';
    if (number.endsWith('i') || following === '+' || following === '-')
      this.#fail('complex numbers are not supported', 'unsupported');
    if (/\w/.test(following)) this.#fail(`${number}${following}… is no number`);
    this.#push('number', number);
  }

  #lexNamed(mark: '.' | '$'): void {
    const start = this.#at;
    this.#at += 1;
    const name = this.#match(WORD) ?? '';
    this.#at += name.length;
    this.#expectNameEnd();
    this.#at = start;
    if (mark === '$') this.#push('variable', mark + name);
    else this.#push(name === '' ? 'dot' : 'field', mark + name);
  }

  #lexWord(): void {
    const start = this.#at;
    const word = this.#match(WORD) ?? '';
    this.#at += word.length;
    this.#expectNameEnd();
    this.#at = start;
    if (KEYWORDS.has(word)) this.#push('keyword', word);
    else if (word === 'nil') this.#push('nil', word);
    else this.#push(word === 'true' || word === 'false' ? 'bool' : 'identifier', word);
  }

  #expectNameEnd(): void {
    if (this.#match(NAME_END) !== undefined) return;
    const next = String.fromCodePoint(this.#text.codePointAt(this.#at) ?? 0);
    if (next > '\u007F') this.#fail(`names with ${next} are not supported`, 'unsupported');
    this.#fail(`unexpected ${next} in a name`);
  }

  #lexSymbol(next: string): void {
    if (next === '(') this.#parentheses += 1;
    if (next === ')' && this.#parentheses-- === 0) this.#fail('there is no parenthesis to close');
    if (next === '(' || next === ')') return this.#push(next, next);
    if (next === '|') return this.#push('pipe', next);
    if (next === '=') return this.#push('assign', next);
    if (next === ':') return this.#text[this.#at + 1] === '=' ? this.#push('declare', ':=') : this.#fail('expected :=');
    if (next > '\u007F') this.#fail('characters outside ASCII need quotes here', 'unsupported');
    if (next < ' ' || next === '\u007F') this.#fail('unexpected control character');
    this.#push('symbol', next);
  }
}
