import { isUtf8 } from 'node:buffer';

import { TemplateError, type TemplateFailure } from '../../../controller/template/template-error.ts';
import { parseTemplate } from '../../../controller/template/template.ts';
import { templateData, type TemplateDataSource } from '../../../controller/template/pod-data.ts';
import { JsonLinesProcess, type JsonLine } from '../../support/json-lines.ts';
import { goProgram } from '../../support/toolchain.ts';

/** How a template ended: with its output, or why not. */
export type Outcome = { readonly output: string } | { readonly failure: TemplateFailure | 'go'; readonly message: string };

/** What the two renderings of one template say about each other. */
export interface Comparison {
  readonly template: string;
  readonly go: Outcome;
  readonly ours: Outcome;
  /** `refused`: Go goes on and we say that we do not; `wrong`: all that must never be. */
  readonly verdict: 'same' | 'both fail' | 'refused' | 'wrong';
}

/** Go's text/template over the real Kubernetes types, in a process of its own. */
export class GoOracle implements AsyncDisposable {
  readonly #process: JsonLinesProcess;

  private constructor(process: JsonLinesProcess) {
    this.#process = process;
  }

  static async start(): Promise<GoOracle> {
    return new GoOracle(new JsonLinesProcess(await goProgram('template-oracle'), [], { TZ: 'UTC' }));
  }

  /** Renders each template in Go and here. */
  async compare(templates: readonly string[], source: TemplateDataSource): Promise<Comparison[]> {
    this.#process.write({ data: source });
    const data = templateData(source);
    const compared: Comparison[] = [];
    // As many as fit a pipe's buffer, so that neither side waits for the other.
    for (let at = 0; at < templates.length; at += 50) {
      const batch = templates.slice(at, at + 50);
      for (const template of batch) this.#process.write({ template });
      for (const template of batch) compared.push(comparisonOf(template, await this.#answer(), ourOutcome(template, data)));
    }
    return compared;
  }

  async #answer(): Promise<Outcome> {
    const line = await this.#process.next();
    if (line === undefined) throw new Error(`the oracle ended: ${this.#process.errors}`);
    return outcomeOf(line);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}

function outcomeOf({ output, stage, error }: JsonLine): Outcome {
  if (typeof stage === 'string') return { failure: stage === 'parse' ? 'syntax' : 'go', message: String(error) };
  const bytes = Buffer.from(typeof output === 'string' ? output : '', 'base64');
  return { output: isUtf8(bytes) ? bytes.toString() : `no UTF-8: ${bytes.toString('hex')}` };
}

function ourOutcome(template: string, data: ReturnType<typeof templateData>): Outcome {
  try {
    return { output: parseTemplate(template, 'template').render(data) };
  } catch (error) {
    if (error instanceof TemplateError) return { failure: error.failure, message: error.message };
    throw error;
  }
}

function comparisonOf(template: string, go: Outcome, ours: Outcome): Comparison {
  return { template, go, ours, verdict: verdictOf(go, ours) };
}

function verdictOf(go: Outcome, ours: Outcome): Comparison['verdict'] {
  if ('output' in ours) return 'output' in go && go.output === ours.output ? 'same' : 'wrong';
  // What we call no template must be none for Go, and what we fail on must fail there; the rest we may refuse.
  if (ours.failure === 'syntax') return 'failure' in go && go.failure === 'syntax' ? 'both fail' : 'wrong';
  if ('failure' in go) return 'both fail';
  return ours.failure === 'execution' ? 'wrong' : 'refused';
}
