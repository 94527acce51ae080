namespace TensorNets

#nowarn "9"

open System
open System.Runtime.InteropServices
open Microsoft.FSharp.NativeInterop

/// Tiles of 2×2 positions of the results of a convolution with nine taps, some rows of tiles at a time, those of all images after each other. The sixteen numbers of a
/// tile lie in matrices of tiles × channels, one for each.
[<NoEquality; NoComparison>]
type internal Tiles =
    {
        Window: PlaneWindow
        Images: int
        /// Channels that are summed over, and that come out.
        From: int
        Into: int
    }

    /// Tiles at a time: fewer read the kernel more often, more leave the second cache. Measured for 32 to 512 channels.
    static member private Most = 64

    static member Room(numbers: int) : Floats = NativePtr.ofVoidPtr (NativeMemory.Alloc(unativeint numbers, 4un))

    static member Free(room: Floats) : unit = NativeMemory.Free(NativePtr.toVoidPtr room)

    /// Rows of tiles of an image, and tiles of a row.
    member z.Down = (z.Window.OutHeight + 1) / 2
    member z.Across = (z.Window.OutWidth + 1) / 2

    /// All rows of tiles.
    member z.All = z.Images * z.Down

    /// So few tiles are shared between threads by their channels, more by their rows.
    static member Few = 128

    /// Rows at a time.
    member z.Together = max 1 (min z.All (Tiles.Most / z.Across))

    /// Pieces of all rows that can be taken together, so many or more.
    member z.Pieces(wanted: int) = max ((z.All + z.Together - 1) / z.Together) (min z.All wanted)

    /// Tiles of whole blocks of a product.
    static member Whole(tiles: int) = (tiles + Tile.Rows - 1) / Tile.Rows * Tile.Rows

    /// Room for so many tiles of whole blocks of rows: the distance between two of their sixteen numbers. With a power of two between them they would take the same places of
    /// the first cache.
    member z.Next(channels: int) = Tiles.Whole(z.Together * z.Across) * channels + 16

    /// Positions of so many channels × so many places, turned; fewer than eight of either are not by blocks.
    static member Turn(rows: int, columns: int, from: Floats, wide: int, into: Floats, out: int) : unit =
        if rows >= 8 && columns >= 8 then
            Turn.One(rows, columns, from, wide, into, out)
        else
            for i in 0 .. rows - 1 do
                for j in 0 .. columns - 1 do
                    NativePtr.set into (j * out + i) (NativePtr.get from (i * wide + j))

    /// Some rows of tiles by image: the image, its first and last row, and the tiles before them.
    member z.Spans(low: int, high: int, act: int -> int -> int -> int -> unit) : unit =
        let mutable row = low

        while row < high do
            let image, first = row / z.Down, row % z.Down
            let count = min (high - row) (z.Down - first)
            act image first (first + count - 1) ((row - low) * z.Across)
            row <- row + count

    /// Each tile of some rows of an image of channels in planes: pieces of `size` rows and columns, two from the next, beginning so far before the image.
    /// `act`: the number of the tile, where it lies and the distance of its rows.
    member private z.Cut
        (
            channels: int,
            image: Floats,
            height: int,
            width: int,
            above: int,
            left: int,
            size: int,
            first: int,
            last: int,
            turned: Floats,
            rim: Floats,
            act: int -> Floats -> int -> unit
        ) : unit =
        let top = max 0 (2 * first - above)
        let bottom = min height (2 * last - above + size)
        let pitch = width * channels

        if bottom > top then
            Tiles.Turn(channels, (bottom - top) * width, NativePtr.add image (top * width), height * width, turned, channels)

        for row in first..last do
            let y = 2 * row - above

            for column in 0 .. z.Across - 1 do
                let x = 2 * column - left
                let tile = (row - first) * z.Across + column

                if y >= 0 && y + size <= height && x >= 0 && x + size <= width then
                    act tile (NativePtr.add turned ((y - top) * pitch + x * channels)) pitch
                else
                    for i in 0 .. size - 1 do
                        for j in 0 .. size - 1 do
                            let y, x = y + i, x + j
                            let into = Span<float32>(NativePtr.toVoidPtr (NativePtr.add rim ((i * size + j) * channels)), channels)

                            if y >= 0 && y < height && x >= 0 && x < width then
                                let from = NativePtr.add turned ((y - top) * pitch + x * channels)
                                Span<float32>(NativePtr.toVoidPtr from, channels).CopyTo into
                            else
                                into.Clear()

                    act tile rim (size * channels)

    /// Room for the positions under the rows of tiles that are taken together, and for a tile.
    member z.Turned = (2 * z.Together + 2) * max (z.From * z.Window.Width) (z.Into * z.Window.OutWidth)

    member z.Rim = Winograd.Numbers * max z.From z.Into

    /// The transforms of the tiles of some rows of all images.
    member z.Input(images: Floats, low: int, high: int, turned: Floats, rim: Floats, into: Floats) : unit =
        let w, s, next = z.Window, z.From, z.Next z.From
        let count = (high - low) * z.Across

        // What fills the last block.
        for k in 0 .. Winograd.Numbers - 1 do
            Span<float32>(NativePtr.toVoidPtr (NativePtr.add into (k * next + count * s)), (Tiles.Whole count - count) * s).Clear()

        z.Spans(
            low,
            high,
            fun image first last before ->
                z.Cut(
                    s,
                    NativePtr.add images (image * s * w.Height * w.Width),
                    w.Height,
                    w.Width,
                    w.Above,
                    w.Left,
                    Winograd.Inside,
                    first,
                    last,
                    turned,
                    rim,
                    fun tile from row -> Winograd.Input(s, from, row, s, NativePtr.add into ((before + tile) * s), next)
                )
        )

    /// The transforms of the tiles of some rows of the gradient of all results, of so many channels from one on.
    member z.OutputBack
        (gradient: Floats, low: int, high: int, channel: int, channels: int, turned: Floats, rim: Floats, into: Floats)
        : unit =
        let w, next = z.Window, z.Next channels

        z.Spans(
            low,
            high,
            fun image first last before ->
                let planes = NativePtr.add gradient ((image * z.Into + channel) * w.OutHeight * w.OutWidth)

                z.Cut(
                    channels,
                    planes,
                    w.OutHeight,
                    w.OutWidth,
                    0,
                    0,
                    Winograd.Outside,
                    first,
                    last,
                    turned,
                    rim,
                    fun tile from row ->
                        Winograd.OutputBack(channels, from, row, channels, NativePtr.add into ((before + tile) * channels), next)
                )
        )

    /// Some rows of all results, of so many channels from one on, from the products of the tiles of these channels.
    member z.Output
        (
            from: Floats,
            next: int,
            low: int,
            high: int,
            channel: int,
            channels: int,
            first: Floats,
            turned: Floats,
            rim: Floats,
            results: Floats
        ) : unit =
        let w = z.Window
        let pitch = w.OutWidth * channels
        let first = if NativePtr.isNullPtr first then first else NativePtr.add first channel

        z.Spans(
            low,
            high,
            fun image top last before ->
                for row in top..last do
                    for column in 0 .. z.Across - 1 do
                        let y, x = 2 * (row - top), 2 * column
                        let tile = NativePtr.add from ((before + (row - top) * z.Across + column) * channels)
                        let high, wide = min 2 (w.OutHeight - 2 * row), min 2 (w.OutWidth - x)
                        let into = NativePtr.add turned (y * pitch + x * channels)

                        if high = 2 && wide = 2 then
                            Winograd.Output(channels, tile, next, first, into, pitch, channels)
                        else
                            Winograd.Output(channels, tile, next, first, rim, 2 * channels, channels)

                            for i in 0 .. high - 1 do
                                let from = NativePtr.add rim (2 * i * channels)
                                let into = NativePtr.add into (i * pitch)

                                Span<float32>(NativePtr.toVoidPtr from, wide * channels)
                                    .CopyTo(Span<float32>(NativePtr.toVoidPtr into, wide * channels))

                let rows = min (2 * (last - top + 1)) (w.OutHeight - 2 * top)
                let plane = w.OutHeight * w.OutWidth
                let into = NativePtr.add results ((image * z.Into + channel) * plane + 2 * top * w.OutWidth)
                Tiles.Turn(rows * w.OutWidth, channels, turned, channels, into, plane)
        )
