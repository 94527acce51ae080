namespace TensorNets

/// The sizes of a convolution over planes: stride and dilation 1, as many zeros before the planes as after them.
[<Struct>]
type internal ConvWindow =
    {
        Height: int
        Width: int
        /// Of the kernel.
        Rows: int
        Columns: int
        /// Zeros above and below, left and right.
        Above: int
        Left: int
    }

    /// Of images of a shape, and a kernel.
    static member Of(shape: int64[], rows: int, columns: int, above: int, left: int) : ConvWindow =
        {
            Height = int shape[2]
            Width = int shape[3]
            Rows = rows
            Columns = columns
            Above = above
            Left = left
        }

    /// The distance between rows of the padded plane.
    member this.Pitch = this.Width + 2 * this.Left

    member this.OutHeight = this.Height + 2 * this.Above - this.Rows + 1
    member this.OutWidth = this.Pitch - this.Columns + 1

    member this.Taps = this.Rows * this.Columns

    /// Whether no zeros lie beyond the kernel, and there is a result.
    member this.IsRegular =
        this.Above >= 0
        && this.Above < this.Rows
        && this.Left >= 0
        && this.Left < this.Columns
        && this.OutHeight >= 1
        && this.OutWidth >= 1

    /// The distance from the first number of a result to behind its last, where its rows lie as far apart as those of the padded plane.
    member this.Length = (this.OutHeight - 1) * this.Pitch + this.OutWidth

    /// The convolution that leads from the gradient of the result to that of the planes.
    member this.Back =
        {
            Height = this.OutHeight
            Width = this.OutWidth
            Rows = this.Rows
            Columns = this.Columns
            Above = this.Rows - 1 - this.Above
            Left = this.Columns - 1 - this.Left
        }

/// Where the channels of a position lie: a plane for each channel, or side by side.
[<Struct; RequireQualifiedAccess>]
type internal Channels =
    | First
    | Last

/// A convolution of float32 images on the CPU that a kernel may be asked for: stride and dilation 1.
[<RequireQualifiedAccess>]
type internal ConvCall =
    /// Of one position: channels that are summed, and new ones.
    | Pointwise of images: int64 * summed: int64 * fresh: int64 * positions: int64
    /// A kernel for each channel.
    | Depthwise of images: int64 * channels: int64 * window: ConvWindow
    /// All channels with all.
    | Dense of images: int64 * summed: int64 * fresh: int64 * window: ConvWindow
