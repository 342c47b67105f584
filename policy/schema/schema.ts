import { map, refine } from '../../core/decode.ts';
import type { Decoder } from '../../core/decode.ts';

/** A rule of the Common Expression Language that the API server evaluates (`x-kubernetes-validations`). */
export interface ValidationRule {
  readonly rule: string;
  readonly message: string;
  readonly fieldPath?: string;
}

/** The part of OpenAPI v3 that a structural schema of Kubernetes may have and that is used here. */
export interface OpenApiSchema {
  /** What a text is, in one or two words. */
  readonly title?: string;
  readonly description?: string;
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly format?: string;
  readonly nullable?: true;
  readonly default?: string | boolean | number;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly items?: OpenApiSchema;
  readonly maxProperties?: number;
  readonly properties?: Readonly<Record<string, OpenApiSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: OpenApiSchema;
  readonly 'x-kubernetes-preserve-unknown-fields'?: true;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-map-type'?: 'atomic';
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

/**
 * One definition of a value of a resource: how untrusted input is read, and how the API server checks the same. The two
 * agree: what one admits the other admits.
 */
export interface Schema<T> {
  readonly decoder: Decoder<T>;
  readonly openApi: OpenApiSchema;
}

/** The type of the values that a schema describes. */
export type ValueOf<S> = S extends Schema<infer T> ? T : never;

/** A condition on a value, written twice: for the API server and for us. */
export interface Rule<T> {
  /** CEL, with `self` for the value. */
  readonly cel: string;
  /** What is wanted, such as `must be at least 10s`. */
  readonly message: string;
  /** The field of the value that the message is about, when it is not the value itself. */
  readonly at?: string;
  readonly holds: (value: T) => boolean;
}

/** The schema with further conditions. A value that its schema refuses already is not judged by them. */
export function ruled<T>(schema: Schema<T>, ...rules: readonly Rule<T>[]): Schema<T> {
  const earlier = schema.openApi['x-kubernetes-validations'] ?? [];
  return {
    openApi: { ...schema.openApi, 'x-kubernetes-validations': [...earlier, ...rules.map(validationOf)] },
    decoder: refine(schema.decoder, (value) =>
      rules.filter(({ holds }) => !holds(value)).map(({ at = '', message }) => ({ path: at, message })),
    ),
  };
}

function validationOf({ cel, message, at }: Rule<never>): ValidationRule {
  return { rule: cel, message, ...(at === undefined ? {} : { fieldPath: `.${at}` }) };
}

/** The schema, its value turned into something else; an IdentityError that `convert` throws becomes a fault. */
export function converted<T, U>(schema: Schema<T>, convert: (value: T) => U): Schema<U> {
  return { openApi: schema.openApi, decoder: map(schema.decoder, convert) };
}
