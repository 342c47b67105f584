import { toBinary, type DescExtension, type DescFile, type DescService } from '@bufbuild/protobuf';
import { nestedTypes } from '@bufbuild/protobuf/reflect';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';

/** Finds the descriptors of what a set of services needs, by every name that reflection asks with. */
export class DescriptorIndex {
  /** Full names, sorted. */
  readonly serviceNames: readonly string[];
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();
  readonly #extensions = new Map<string, Map<number, DescFile>>();

  constructor(services: readonly DescService[]) {
    this.serviceNames = services.map(({ typeName }) => typeName).sort();
    for (const { file } of services) this.#addFile(file);
  }

  /** The file of this path and those it imports, serialised as FileDescriptorProto. */
  fileNamed(path: string): Uint8Array[] | undefined {
    return serialised(this.#files.get(path));
  }

  /** The file that defines a service, method, message, field, enum, enum value or extension. */
  fileOf(symbol: string): Uint8Array[] | undefined {
    return serialised(this.#symbols.get(symbol));
  }

  /** The file that defines the extension of a message with this number. */
  fileOfExtension(extendee: string, number: number): Uint8Array[] | undefined {
    return serialised(this.#extensions.get(extendee)?.get(number));
  }

  /** The numbers of a message's extensions; undefined when there is no such message. */
  extensionNumbers(message: string): number[] | undefined {
    if (!this.#symbols.has(message)) return undefined;
    return [...(this.#extensions.get(message)?.keys() ?? [])].sort((a, b) => a - b);
  }

  #addFile(file: DescFile): void {
    if (this.#files.has(file.proto.name)) return;
    this.#files.set(file.proto.name, file);
    for (const dependency of file.dependencies) this.#addFile(dependency);
    for (const type of nestedTypes(file)) {
      this.#symbols.set(type.typeName, file);
      if (type.kind === 'extension') this.#addExtension(type, file);
      for (const member of membersOf(type)) this.#symbols.set(`${type.typeName}.${member}`, file);
    }
  }

  #addExtension({ extendee, number }: DescExtension, file: DescFile): void {
    const extensions = this.#extensions.get(extendee.typeName) ?? new Map<number, DescFile>();
    this.#extensions.set(extendee.typeName, extensions.set(number, file));
  }
}

type NestedType = ReturnType<typeof nestedTypes> extends Iterable<infer T> ? T : never;

function membersOf(type: NestedType): string[] {
  if (type.kind === 'service') return type.methods.map(({ name }) => name);
  if (type.kind === 'message') return type.members.map(({ name }) => name);
  return type.kind === 'enum' ? type.values.map(({ name }) => name) : [];
}

function serialised(file: DescFile | undefined): Uint8Array[] | undefined {
  if (file === undefined) return undefined;
  const files = new Set<DescFile>();
  const add = (each: DescFile): void => {
    if (files.has(each)) return;
    files.add(each);
    each.dependencies.forEach(add);
  };
  add(file);
  return [...files].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
}
