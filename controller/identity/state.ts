import type { PodRecord, Problem } from '../ports.ts';
import type { CompiledDeclaration } from './compiled-declaration.ts';
import type { RenderAccount } from './render-account.ts';
import type { Claim, Declarer } from './slots.ts';

/** A declaration and what came of it. */
export interface DeclarationState extends Declarer {
  readonly key: string;
  readonly compiled: CompiledDeclaration;
  /** The namespaces that it selects, ignored ones among them. */
  readonly namespaces: Set<string>;
  /** The pods that it selects. */
  readonly pods: Set<PodState>;
  renderFailures: number;
  waiting: number;
  /** What rendering it has taken. */
  readonly account: RenderAccount;
}

/** What became of one declaration for one pod that it selects. */
export type Outcome =
  | { readonly kind: 'entry'; readonly declaration: DeclarationState; readonly claim: Claim }
  /** It could not be rendered. */
  | { readonly kind: 'failure'; readonly declaration: DeclarationState; readonly problem: Problem }
  /** The pod is not on a node yet, or not all of it is known. */
  | { readonly kind: 'waiting'; readonly declaration: DeclarationState; readonly problem: Problem }
  /** A fallback that is not needed. */
  | { readonly kind: 'yielded'; readonly declaration: DeclarationState };

/** A pod with what the declarations made of it. */
export interface PodState {
  readonly key: string;
  record: PodRecord;
  outcomes: readonly Outcome[];
}
