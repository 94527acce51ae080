namespace TensorNets

open TorchSharp

/// Integers of a few bits side by side in bytes: entry i, in two's complement, takes the bits from i × bits on, the lowest bit of the
/// lowest byte first; the last byte is filled up with zeros.
[<RequireQualifiedAccess>]
module internal PackedBits =
    /// The bytes of so many entries.
    let length (bits: int) (count: int64) : int64 = (count * int64 bits + 7L) / 8L

    /// Entries of int8 as bytes.
    let pack (bits: int) (integers: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let entries = integers.cpu().contiguous().reshape(-1L).data<sbyte>().ToArray()
        let bytes: byte[] = Array.zeroCreate (int (length bits (int64 entries.Length)))
        let mask = (1 <<< bits) - 1

        entries
        |> Array.iteri (fun i entry ->
            let first = int64 i * int64 bits
            let place, shift = int (first >>> 3), int (first &&& 7L)
            let value = (int entry &&& mask) <<< shift
            bytes[place] <- bytes[place] ||| byte value

            if shift + bits > 8 then
                bytes[place + 1] <- bytes[place + 1] ||| byte (value >>> 8))

        torch.tensor (bytes, dtype = torch.uint8, device = torch.CPU) |> scope.MoveToOuter

    /// The entries that bytes hold, as int8 of a shape.
    let unpack (bits: int) (shape: int64 list) (packed: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let bytes = packed.cpu().contiguous().data<byte>().ToArray()
        let count = List.fold (*) 1L shape
        let mask, sign = (1 <<< bits) - 1, 1 <<< (bits - 1)

        let entry i =
            let first = int64 i * int64 bits
            let place, shift = int (first >>> 3), int (first &&& 7L)
            let next = if shift + bits > 8 then int bytes[place + 1] <<< 8 else 0
            let value = ((int bytes[place] ||| next) >>> shift) &&& mask
            sbyte ((value ^^^ sign) - sign)

        torch.tensor(Array.init (int count) entry, dtype = torch.int8, device = torch.CPU).reshape(List.toArray shape)
        |> scope.MoveToOuter
