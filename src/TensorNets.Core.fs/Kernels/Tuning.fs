namespace TensorNets

/// <summary>Every constant of the library that was found by measuring on one machine, and the command that shows it again. Another machine
/// wants another record.</summary>
/// <remarks>The machine: two cores of an AMD processor with AVX-512 (Zen 4), .NET 10, TorchSharp 0.107 with libtorch 2.10, one thread
/// unless it is said otherwise. The commands are modes of <c>benchmarks</c>.</remarks>
[<NoEquality; NoComparison>]
type internal Tuning =
    {
        // ParallelFor: mode `convolutions` with two threads.
        /// Operations below which a loop takes longer shared between threads than on one.
        LeastShared: float
        /// Parts of a shared loop for each thread, so that one that is held up does fewer.
        PartsOfThread: int

        // Products of matrices: modes `products` and `handwritten`.
        /// Operations above which libtorch with several threads beats our one, where its threads cannot be had.
        MostUnshared: float
        /// Columns of the left matrix that are summed over at a time: what a panel of the right one takes then stays in the first cache.
        GemmDepth: int
        /// Bytes of the left matrix at a time: a block of it stays in the second cache.
        GemmBlockBytes: int
        /// Rows, columns and depth from which a product is ours; below, the call costs more than the product.
        LeastGemmSize: int64
        /// How many times smaller than the other operand a matrix is whose columns lie side by side for libtorch to be given a copy by
        /// rows.
        CopiedShare: int64
        /// Rows that are transposed at a time: they fill whole cache lines of the result.
        TransposedRows: int

        // Convolutions of 3×3 by minimal filtering: mode `convolutions`.
        /// Tiles that are transformed at a time: fewer read the kernel more often, more leave the second cache.
        MostTiles: int
        /// Tiles up to which threads share channels that come out, not rows: each then reads kernels of its own.
        FewTiles: int64
        /// Operations that a transformed number costs as much as.
        TransformOperations: float
        /// Tiles from which minimal filtering pays, by the pairs of channels: on one thread.
        LeastTiles: int64 -> int64
        /// The same on several threads.
        LeastTilesShared: int64 -> int64

        // What layers expect operations to take, in seconds, operations or bytes a second: mode `layers`. Only ratios matter.
        /// Of a call of libtorch.
        CallSeconds: float
        Bandwidth: float
        /// Of a convolution of libtorch whose channels fill registers.
        DenseRate: float
        /// Of one with few channels, at least.
        LeastRate: float
        /// Of one in groups: a constant, and what the root of the channels of a group adds.
        GroupedRate: struct (float * float)
        /// Of contractions: by our products, by libtorch's.
        ContractionRate: float
        TorchContractionRate: float
        PointwiseRate: float
        DepthwiseRate: float
        /// Of the products of minimal filtering, and numbers transformed in a second.
        WinogradRate: float
        TransformRate: float

        // What libtorch does best how: mode `layers`.
        /// Images from which on, and positions of a plane below which, its kernel for each channel beats ours (mode `handwritten
        /// depthwise`).
        SmallPlanes: struct (int64 * int64)
        /// Multiplications up to which libtorch's plain product beats the start of its convolution: of one image, of several.
        SmallPointwise: struct (int64 * int64)
        /// Multiplications up to which a product that reads a core as it lies beats a convolution that copies it first: of one image, of
        /// several.
        SmallProduct: struct (int64 * int64)
        /// Positions of one image up to which its windows are written side by side and multiplied.
        UnfoldedPositions: int64
        /// Positions from which stages keep the channels of a position side by side: 56×56 gains, 14×14 loses.
        WidePositions: int64
    }

[<RequireQualifiedAccess>]
module internal Tuning =
    let measured: Tuning =
        {
            LeastShared = 6e6
            PartsOfThread = 2
            MostUnshared = 2.2e7
            GemmDepth = 256
            GemmBlockBytes = 262_144
            LeastGemmSize = 16L
            // 64×256 by 256×2304 in float64 is 6 % faster then.
            CopiedShare = 16L
            TransposedRows = 16
            MostTiles = 64
            FewTiles = 128L
            TransformOperations = 8.0
            LeastTiles = fun pairs -> if pairs <= 65_536L then 1L else 100L
            LeastTilesShared =
                fun pairs ->
                    if pairs <= 9_216L then 1L
                    elif pairs <= 16_384L then 40L
                    else 200L
            CallSeconds = 15e-6
            Bandwidth = 25e9
            DenseRate = 170e9
            LeastRate = 10e9
            GroupedRate = struct (8e9, 4e9)
            ContractionRate = 160e9
            TorchContractionRate = 80e9
            PointwiseRate = 220e9
            DepthwiseRate = 60e9
            WinogradRate = 180e9
            TransformRate = 10e9
            SmallPlanes = struct (4L, 1024L)
            SmallPointwise = struct (8_000_000L, 4_000_000L)
            SmallProduct = struct (8_000_000L, 600_000L)
            UnfoldedPositions = 64L
            WidePositions = 1024L
        }
