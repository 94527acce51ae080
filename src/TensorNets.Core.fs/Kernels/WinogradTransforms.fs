namespace TensorNets

#nowarn "9"

open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop

/// Minimal filtering F(2×2, 3×3): four neighbours of a correlation with nine taps by sixteen multiplications, Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A
/// (Winograd, Arithmetic complexity of computations, 1980; Lavin and Gray, arXiv 1509.09308). Each of the transforms, and those of the
/// gradients, for many channels at a time: the numbers of a position lie side by side. `count`: channels, a multiple of sixteen; `next`:
/// the distance between two of the sixteen numbers of a tile. The formulas are written out, so that all numbers of a tile stay in
/// registers.
[<AbstractClass; Sealed>]
type internal WinogradTransforms private () =
    /// Numbers of a tile after the transform.
    static member Numbers = 16

    /// Taps of a kernel.
    static member Taps = 9

    /// Rows and columns of a tile that go in, and that come out.
    static member Inside = 4

    static member Outside = 2

    /// G g Gᵀ, from taps at a distance.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Kernel(count: int, taps: Floats, tap: int, into: Floats, next: int) : unit =
        let half = Vector512.Create 0.5f

        let inline filter (a: Vector512<float32>) (b: Vector512<float32>) (c: Vector512<float32>) =
            let outer, inner = half * (a + c), half * b
            struct (a, outer + inner, outer - inner, c)

        let mutable i = 0

        while i < count do
            let inline tapped k = Vector512.Load(NativePtr.add taps (k * tap + i))
            let inline column k = filter (tapped k) (tapped (k + 3)) (tapped (k + 6))
            let struct (a0, a1, a2, a3) = column 0
            let struct (b0, b1, b2, b3) = column 1
            let struct (c0, c1, c2, c3) = column 2

            let inline put row a b c =
                let struct (w, x, y, z) = filter a b c
                let into = NativePtr.add into (4 * row * next + i)
                Vector512.Store(w, into)
                Vector512.Store(x, NativePtr.add into next)
                Vector512.Store(y, NativePtr.add into (2 * next))
                Vector512.Store(z, NativePtr.add into (3 * next))

            put 0 a0 b0 c0
            put 1 a1 b1 c1
            put 2 a2 b2 c2
            put 3 a3 b3 c3
            i <- i + Vector512<float32>.Count

    /// Gᵀ u G, to taps at a distance.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member KernelBack(count: int, from: Floats, next: int, taps: Floats, tap: int) : unit =
        let half = Vector512.Create 0.5f

        let inline gather (a: Vector512<float32>) (b: Vector512<float32>) (c: Vector512<float32>) (d: Vector512<float32>) =
            let sum = half * (b + c)
            struct (a + sum, half * (b - c), sum + d)

        let mutable i = 0

        while i < count do
            let inline number k = Vector512.Load(NativePtr.add from (k * next + i))
            let inline column k = gather (number k) (number (k + 4)) (number (k + 8)) (number (k + 12))
            let struct (a0, a1, a2) = column 0
            let struct (b0, b1, b2) = column 1
            let struct (c0, c1, c2) = column 2
            let struct (d0, d1, d2) = column 3

            let inline put row a b c d =
                let struct (x, y, z) = gather a b c d
                let into = NativePtr.add taps (3 * row * tap + i)
                Vector512.Store(x, into)
                Vector512.Store(y, NativePtr.add into tap)
                Vector512.Store(z, NativePtr.add into (2 * tap))

            put 0 a0 b0 c0 d0
            put 1 a1 b1 c1 d1
            put 2 a2 b2 c2 d2
            i <- i + Vector512<float32>.Count

    /// Bᵀ d B, of 4×4 positions.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Input(count: int, positions: Strided<float32>, into: Floats, next: int) : unit =
        let inline differ (a: Vector512<float32>) (b: Vector512<float32>) (c: Vector512<float32>) (d: Vector512<float32>) =
            struct (a - c, b + c, c - b, b - d)

        let mutable i = 0

        while i < count do
            let inline line y =
                let from = NativePtr.add positions.Start (y * positions.NextRow + i)
                let inline at x = Vector512.Load(NativePtr.add from (x * positions.NextColumn))
                differ (at 0) (at 1) (at 2) (at 3)

            let struct (a0, a1, a2, a3) = line 0
            let struct (b0, b1, b2, b3) = line 1
            let struct (c0, c1, c2, c3) = line 2
            let struct (d0, d1, d2, d3) = line 3

            let inline put x a b c d =
                let struct (p, q, r, s) = differ a b c d
                let into = NativePtr.add into (x * next + i)
                Vector512.Store(p, into)
                Vector512.Store(q, NativePtr.add into (4 * next))
                Vector512.Store(r, NativePtr.add into (8 * next))
                Vector512.Store(s, NativePtr.add into (12 * next))

            put 0 a0 b0 c0 d0
            put 1 a1 b1 c1 d1
            put 2 a2 b2 c2 d2
            put 3 a3 b3 c3 d3
            i <- i + Vector512<float32>.Count

    /// Aᵀ m A and the bias, or null, to 2×2 positions.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Output(count: int, from: Floats, next: int, bias: Floats, positions: Strided<float32>) : unit =
        let isBiased = not (NativePtr.isNullPtr bias)

        let inline join (a: Vector512<float32>) (b: Vector512<float32>) (c: Vector512<float32>) (d: Vector512<float32>) =
            struct (a + b + c, b - c - d)

        let mutable i = 0

        while i < count do
            let inline number k = Vector512.Load(NativePtr.add from (k * next + i))
            let inline joined k = join (number k) (number (k + 4)) (number (k + 8)) (number (k + 12))
            let struct (a0, a1) = joined 0
            let struct (b0, b1) = joined 1
            let struct (c0, c1) = joined 2
            let struct (d0, d1) = joined 3

            let values = if isBiased then Vector512.Load(NativePtr.add bias i) else Vector512<float32>.Zero

            let inline put y a b c d =
                let struct (left, right) = join a b c d
                let into = NativePtr.add positions.Start (y * positions.NextRow + i)
                Vector512.Store(left + values, into)
                Vector512.Store(right + values, NativePtr.add into positions.NextColumn)

            put 0 a0 b0 c0 d0
            put 1 a1 b1 c1 d1
            i <- i + Vector512<float32>.Count

    /// A y Aᵀ, of 2×2 positions.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member OutputBack(count: int, positions: Strided<float32>, into: Floats, next: int) : unit =
        let inline spread (a: Vector512<float32>) (b: Vector512<float32>) = struct (a, a + b, a - b, -b)
        let mutable i = 0

        while i < count do
            let inline at y x =
                Vector512.Load(NativePtr.add positions.Start (y * positions.NextRow + x * positions.NextColumn + i))

            let struct (a0, a1, a2, a3) = spread (at 0 0) (at 1 0)
            let struct (b0, b1, b2, b3) = spread (at 0 1) (at 1 1)

            let inline put y a b =
                let struct (p, q, r, s) = spread a b
                let into = NativePtr.add into (4 * y * next + i)
                Vector512.Store(p, into)
                Vector512.Store(q, NativePtr.add into next)
                Vector512.Store(r, NativePtr.add into (2 * next))
                Vector512.Store(s, NativePtr.add into (3 * next))

            put 0 a0 b0
            put 1 a1 b1
            put 2 a2 b2
            put 3 a3 b3
            i <- i + Vector512<float32>.Count

    /// into += from.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Add(count: int, from: Floats, into: Floats) : unit =
        let mutable i = 0

        while i < count do
            let into = NativePtr.add into i
            Vector512.Store(Vector512.Load into + Vector512.Load(NativePtr.add from i), into)
            i <- i + Vector512<float32>.Count
