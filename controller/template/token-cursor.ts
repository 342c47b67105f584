import type { Token, TokenKind } from './lexer.ts';
import { Fault, TemplateError, type TemplateFailure, type TemplateSource } from './template-error.ts';

/** Walks along the tokens of a template, and words its errors. */
export class TokenCursor {
  readonly source: TemplateSource;
  readonly #tokens: readonly Token[];
  #index = 0;

  constructor(source: TemplateSource, tokens: readonly Token[]) {
    this.source = source;
    this.#tokens = tokens;
  }

  /** The token that comes next, or the one that many behind it. */
  peek(ahead = 0): Token {
    const token = this.#tokens[Math.min(this.#index + ahead, this.#tokens.length - 1)];
    if (token === undefined) throw new TypeError('a template without its last token');
    return token;
  }

  next(): Token {
    const token = this.peek();
    this.#index += 1;
    return token;
  }

  skipSpace(): void {
    while (this.peek().kind === 'space') this.#index += 1;
  }

  peekNonSpace(): Token {
    this.skipSpace();
    return this.peek();
  }

  nextNonSpace(): Token {
    this.skipSpace();
    return this.next();
  }

  /** Takes a token that must be of the kind; `context` says of what it is a part. */
  expect(kind: TokenKind, context: string): Token {
    const token = this.nextNonSpace();
    if (token.kind !== kind) this.unexpected(token, context);
    return token;
  }

  unexpected(token: Token, context: string): never {
    const what = token.kind === 'end of template' ? 'the end of the template' : token.kind === 'text' ? 'text' : token.text;
    this.fail(`unexpected ${what} in ${context}`, token.at);
  }

  fail(message: string, at: number, failure: TemplateFailure = 'syntax'): never {
    throw new TemplateError(failure, message, { source: this.source, at });
  }

  /** Gives a fault in a token's own text the token's place. */
  within<T>(token: Token, parse: () => T): T {
    try {
      return parse();
    } catch (fault) {
      if (fault instanceof Fault) this.fail(fault.message, token.at, fault.failure);
      throw fault;
    }
  }
}
