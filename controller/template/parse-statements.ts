// The statements of a template: text, actions, if, with, range.
import { tokensOf, type Token } from './lexer.ts';
import { PipelineParser } from './parse-pipeline.ts';
import type { Branch, Statement } from './syntax.ts';
import type { TemplateSource } from './template-error.ts';
import { TokenCursor } from './token-cursor.ts';

/** Deeper than any template that a person writes, and never so deep that the stack is at risk. */
const MAX_DEPTH = 100;

/** @throws {TemplateError} `syntax` where Go would not parse the text either, `unsupported` for templates in templates. */
export function parseStatements(source: TemplateSource): readonly Statement[] {
  const cursor = new TokenCursor(source, tokensOf(source));
  return new StatementParser(cursor).parse();
}

/** What ends a list of statements. */
type Ending = Token & { readonly kind: 'keyword' | 'end of template' };

class StatementParser {
  readonly #cursor: TokenCursor;
  readonly #pipelines: PipelineParser;
  #ranges = 0;
  #depth = 0;

  constructor(cursor: TokenCursor) {
    this.#cursor = cursor;
    this.#pipelines = new PipelineParser(cursor);
  }

  parse(): readonly Statement[] {
    const { statements, ending } = this.#statements();
    if (ending.kind !== 'end of template') this.#cursor.fail(`unexpected ${ending.text}: nothing is open here`, ending.at);
    return statements;
  }

  /** Reads up to `{{else`, `{{end` or the end of the template. */
  #statements(): { statements: Statement[]; ending: Ending } {
    const statements: Statement[] = [];
    for (;;) {
      const token = this.#cursor.next();
      if (token.kind === 'end of template') return { statements, ending: { ...token, kind: 'end of template' } };
      if (token.kind === 'text') {
        statements.push({ kind: 'text', at: token.at, text: token.text });
        continue;
      }
      const word = this.#cursor.peekNonSpace();
      if (word.kind === 'keyword' && (word.text === 'else' || word.text === 'end')) {
        this.#cursor.next();
        return { statements, ending: { ...word, kind: 'keyword' } };
      }
      statements.push(this.#action());
    }
  }

  #action(): Statement {
    const word = this.#cursor.peek();
    if (word.kind !== 'keyword') {
      return { kind: 'action', at: word.at, pipeline: this.#pipelines.parse('an action', 'close') };
    }
    this.#cursor.next();
    switch (word.text) {
      case 'if':
      case 'with':
      case 'range':
        return this.#branch(word.text, word.at);
      case 'break':
      case 'continue':
        return this.#jump(word.text, word.at);
      default:
        return this.#cursor.fail(`${word.text} is not supported: an identity template stands alone`, word.at, 'unsupported');
    }
  }

  #jump(kind: 'break' | 'continue', at: number): Statement {
    this.#cursor.expect('close', kind);
    if (this.#ranges === 0) this.#cursor.fail(`${kind} outside of range`, at);
    return { kind, at };
  }

  #branch(kind: Branch['kind'], at: number): Branch {
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) this.#cursor.fail(`more than ${MAX_DEPTH} blocks in each other`, at, 'limit');
    const scope = this.#pipelines.variables.length;
    const pipeline = this.#pipelines.parse(kind, 'close');
    if (kind === 'range') this.#ranges += 1;
    const { statements: body, ending } = this.#statements();
    if (kind === 'range') this.#ranges -= 1;
    const otherwise = this.#otherwise(kind, { ending, at });
    this.#pipelines.variables.length = scope;
    this.#depth -= 1;
    return { kind, at, pipeline, body, otherwise };
  }

  #otherwise(kind: Branch['kind'], { ending, at }: { ending: Ending; at: number }): Statement[] {
    if (this.#ends(ending, kind, at)) return [];
    const word = this.#cursor.peekNonSpace();
    // `{{else if x}}` is `{{else}}{{if x}}` whose own end closes both.
    if (word.kind === 'keyword' && word.text === kind && kind !== 'range') {
      this.#cursor.next();
      return [this.#branch(kind, word.at)];
    }
    this.#cursor.expect('close', 'else');
    const { statements, ending: last } = this.#statements();
    if (!this.#ends(last, kind, at)) this.#cursor.fail('expected end: this block has had its else', last.at);
    return statements;
  }

  #ends(ending: Ending, kind: Branch['kind'], at: number): boolean {
    if (ending.kind === 'end of template') this.#cursor.fail(`${kind} is never closed by {{end}}`, at);
    if (ending.text === 'else') return false;
    this.#cursor.expect('close', 'end');
    return true;
  }
}
